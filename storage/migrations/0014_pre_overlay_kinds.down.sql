-- The older release has no page for these; their tokens show rooms that it does not fill.
DELETE FROM overlays.overlays WHERE kind IN ('leaderboard', 'alerts');
ALTER TABLE overlays.overlays DROP CONSTRAINT overlays_kind_check;
ALTER TABLE overlays.overlays ADD CONSTRAINT overlays_kind_check
    CHECK (kind IN ('scoreboard', 'feed', 'player'));
