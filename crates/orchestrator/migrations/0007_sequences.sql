-- Events say themselves which was the last.

ALTER TABLE runs DROP COLUMN last_sequence;
