-- The listing without delayed matches, which it takes from matches.shown: it never walks over them.
CREATE INDEX matches_listed_now ON matches.matches (section, listed_at, match_id)
WHERE delay_s = 0;
CREATE INDEX matches_listed_now_of_game ON matches.matches (game, section, listed_at, match_id)
WHERE delay_s = 0;
