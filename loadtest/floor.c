/* The floor: the least that a server can do for a fan-out, one write() per message and member.
 *
 * Usage: floor PORT (0 = any); prints the port. Members connect to /room/N; a publisher connects to
 * /publish and sends binary messages: two bytes of room number, then the text that goes to that
 * room's members as one frame. No tokens, no history, no limits. It serves loadtest/drive.c and
 * loadtest/drive.py, which always send the example key of RFC 6455, section 1.3.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

enum { ROOMS_MAX = 65536, FDS_MAX = 65536, EVENTS = 512, READ_BYTES = 1 << 20, HEAD_BYTES = 8192 };
enum { NEW = -1, PUBLISHER = -2 };

struct room { int *fds; int count, space; };
struct peer {
    int room;      /* its room, NEW or PUBLISHER */
    int place;     /* where it stands among the room's members */
    char *kept;    /* of what came in: an unfinished request or message */
    size_t kept_bytes;
};

static struct room rooms[ROOMS_MAX];
static struct peer *peers[FDS_MAX];
static char inbox[READ_BYTES + HEAD_BYTES], frame[READ_BYTES + 16];
static int poller;

static const char ACCEPTED[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void fail(const char *what) { perror(what); exit(1); }

static void send_whole(int fd, const char *data, size_t size)
{
    while (size > 0) { /* once, unless the peer does not read: sockets are blocking here */
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0) return; /* gone: the reading side notices */
        data += sent;
        size -= (size_t)sent;
    }
}

static void leave(int fd)
{
    struct peer *peer = peers[fd];
    if (peer->room >= 0) {
        struct room *room = &rooms[peer->room];
        int last = room->fds[--room->count];
        room->fds[peer->place] = last;
        peers[last]->place = peer->place;
    }
    free(peer->kept);
    free(peer);
    peers[fd] = NULL;
    close(fd);
}

static void enter(int fd, int number)
{
    struct room *room = &rooms[number];
    if (room->count == room->space) {
        room->space = room->space ? 2 * room->space : 16;
        room->fds = realloc(room->fds, sizeof(int) * (size_t)room->space);
        if (room->fds == NULL) fail("realloc");
    }
    peers[fd]->room = number;
    peers[fd]->place = room->count;
    room->fds[room->count++] = fd;
}

/* The request's head; how many bytes it took, 0 when it is not complete, -1 when it is not ours. */
static long upgrade(int fd, const char *data, size_t size)
{
    char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) return size > HEAD_BYTES / 2 ? -1 : 0;
    if (strncmp(data, "GET /publish ", 13) == 0) peers[fd]->room = PUBLISHER;
    else if (strncmp(data, "GET /room/", 10) == 0) enter(fd, atoi(data + 10) & (ROOMS_MAX - 1));
    else return -1;
    send_whole(fd, ACCEPTED, sizeof ACCEPTED - 1);
    return end + 4 - data;
}

static void publish(int number, const char *text, size_t size)
{
    size_t head = 2;
    struct room *room = &rooms[number];
    frame[0] = (char)0x81;
    if (size < 126) frame[1] = (char)size;
    else {
        frame[1] = 126;
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
        head = 4;
    }
    memcpy(frame + head, text, size);
    for (int i = 0; i < room->count; i++) send_whole(room->fds[i], frame, head + size);
}

/* One message of a publisher; how many bytes it took, 0 when it is not complete, -1 on nonsense. */
static long message(char *data, size_t size)
{
    size_t head = 6, length;
    if (size < head) return 0;
    length = (unsigned char)data[1] & 0x7f;
    if (((unsigned char)data[1] & 0x80) == 0 || length == 127) return -1;
    if (length == 126) {
        head = 8;
        if (size < head) return 0;
        length = (size_t)(unsigned char)data[2] << 8 | (unsigned char)data[3];
    }
    if (size < head + length) return 0;
    char *text = data + head;
    for (size_t i = 0; i < length; i++) text[i] ^= data[head - 4 + (i & 3)];
    if ((data[0] & 0x0f) == 2 && length >= 2)
        publish((unsigned char)text[0] << 8 | (unsigned char)text[1], text + 2, length - 2);
    return (long)(head + length);
}

static void readable(int fd)
{
    struct peer *peer = peers[fd];
    size_t size = peer->kept_bytes, used = 0;
    if (size) memcpy(inbox, peer->kept, size);
    ssize_t got = recv(fd, inbox + size, sizeof inbox - size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { leave(fd); return; }
    size += (size_t)got;
    while (used < size) {
        long took = peer->room == NEW ? upgrade(fd, inbox + used, size - used)
                  : peer->room == PUBLISHER ? message(inbox + used, size - used)
                  : (long)(size - used); /* what members say is nobody's business */
        if (took < 0) { leave(fd); return; }
        if (took == 0) break;
        used += (size_t)took;
    }
    free(peer->kept);
    peer->kept = NULL;
    peer->kept_bytes = size - used;
    if (peer->kept_bytes) {
        peer->kept = malloc(peer->kept_bytes);
        if (peer->kept == NULL) fail("malloc");
        memcpy(peer->kept, inbox + used, peer->kept_bytes);
    }
}

static void arrive(int listener)
{
    for (int n = 0; n < 64; n++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
        if (fd < 0) return;
        if (fd >= FDS_MAX) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peers[fd] = calloc(1, sizeof *peers[fd]);
        if (peers[fd] == NULL) fail("calloc");
        peers[fd]->room = NEW;
        struct epoll_event wish = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wish) < 0) fail("epoll_ctl");
    }
}

int main(int count, char **words)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    struct epoll_event events[EVENTS];
    struct rlimit files;
    int on = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    address.sin_port = htons((uint16_t)(count > 1 ? atoi(words[1]) : 0));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, size) < 0) fail("bind");
    if (listen(listener, 1024) < 0) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wish = {.events = EPOLLIN, .data.fd = listener};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &wish) < 0) fail("epoll_ctl");
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) arrive(listener);
            else if (peers[fd] != NULL) readable(fd);
        }
    }
}
