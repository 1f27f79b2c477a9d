DROP INDEX matches.matches_listed_now_of_game;
DROP INDEX matches.matches_listed_now;
