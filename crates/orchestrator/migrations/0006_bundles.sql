-- From which byte of its object an update begins: small ones lie one behind the other.

ALTER TABLE receipts ADD COLUMN object_offset BIGINT NOT NULL DEFAULT 0;
