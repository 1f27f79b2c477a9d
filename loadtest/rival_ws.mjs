// ws on Node.js, doing nothing but fan out; speaks what floor.c says at its top.
// Usage: node rival_ws.mjs FOLDER (with node_modules/ws) PORT; prints the port.
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(`${process.argv[2]}/`)("ws");
const rooms = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[3]),
  perMessageDeflate: false,
  clientTracking: false,
  backlog: 4096,
});

server.on("connection", (socket, request) => {
  if (request.url === "/publish") {
    socket.on("message", (message) => {
      const text = message.subarray(2);
      for (const member of rooms.get(message.readUInt16BE(0)) ?? []) {
        member.send(text, { binary: false });
      }
    });
    return;
  }
  const room = Number(request.url.slice(request.url.lastIndexOf("/") + 1));
  if (!rooms.has(room)) rooms.set(room, new Set());
  rooms.get(room).add(socket);
  socket.on("close", () => rooms.get(room).delete(socket));
});
server.on("listening", () => console.log(server.address().port));
