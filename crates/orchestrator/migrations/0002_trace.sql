-- Where in which trace a run was submitted, in the words of W3C Trace Context. Runs from before
-- have none.

ALTER TABLE runs ADD COLUMN traceparent TEXT;
ALTER TABLE runs ADD COLUMN tracestate TEXT;
