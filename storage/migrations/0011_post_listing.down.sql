CREATE INDEX matches_listing ON matches.matches (section, listed_at, match_id);
CREATE INDEX matches_listing_of_game ON matches.matches (game, section, listed_at, match_id);
