-- The class of the kernels that trained an update; empty where the worker did not say.

ALTER TABLE receipts ADD COLUMN kernel_class TEXT NOT NULL DEFAULT '';
