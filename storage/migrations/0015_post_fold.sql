-- The history before had a pipeline and wider rows of its own; nobody reads or writes them now.
DROP TABLE history.matches;
DELETE FROM log.cursors WHERE pipeline = 'history';
DELETE FROM deadletters.letters WHERE pipeline = 'history';
