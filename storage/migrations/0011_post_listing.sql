-- Nobody lists matches with and without a delay together any more.
DROP INDEX matches.matches_listing_of_game;
DROP INDEX matches.matches_listing;
