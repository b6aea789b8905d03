-- What a restart asks for first: the few runs and rounds that have not ended, among all that have.

CREATE INDEX runs_unfinished ON runs (run)
    WHERE state NOT IN ('completed', 'failed', 'cancelled');

CREATE INDEX rounds_unfinished ON rounds (run, round)
    WHERE phase NOT IN ('committed', 'abandoned');
