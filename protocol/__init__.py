"""The wire contract: messages, codecs and the client SDK."""
