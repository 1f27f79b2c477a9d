-- Overlays that show a board, and alerts of what a user reached (RT-13).
ALTER TABLE overlays.overlays DROP CONSTRAINT overlays_kind_check;
ALTER TABLE overlays.overlays ADD CONSTRAINT overlays_kind_check
    CHECK (kind IN ('scoreboard', 'feed', 'player', 'leaderboard', 'alerts'));
