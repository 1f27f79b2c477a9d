DROP TABLE matches.shown;
DROP TABLE log.pending;
