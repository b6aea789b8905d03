-- Who may write, where several could: one row. Each term counts the epoch up, so a writer of an
-- earlier term is told apart. A holder without a name is none.

CREATE TABLE leader (
    only_row   BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    holder     TEXT   NOT NULL,
    epoch      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

INSERT INTO leader (only_row, holder, epoch, expires_at) VALUES (1, '', 0, 0);
