-- +migrate Up

-- People. Nobody is ever deleted, only disabled: the trail names them by id.
CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz,
    disabled_at   timestamptz,
    generation    integer NOT NULL DEFAULT 1, -- grows when all that was issued to the user must end
    email         text    NOT NULL CONSTRAINT users_email_taken UNIQUE
                  CONSTRAINT users_email_short CHECK (octet_length(email) BETWEEN 3 AND 254),
    role          text    NOT NULL CONSTRAINT users_role_known CHECK (role IN ('viewer', 'operator', 'admin')),
    password_hash text    NOT NULL -- argon2id, with its parameters and its salt
);

-- Keys of machines. The secret has 200 bits of chance, so a fast hash hides it.
CREATE TABLE api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz, -- true to a minute
    revoked_at   timestamptz,
    name         text  NOT NULL CONSTRAINT api_keys_name_short CHECK (octet_length(name) BETWEEN 1 AND 400),
    role         text  NOT NULL CONSTRAINT api_keys_role_known CHECK (role IN ('viewer', 'operator', 'admin')),
    created_by   text  NOT NULL,
    secret_hash  bytea NOT NULL CONSTRAINT api_keys_hash_sha256 CHECK (octet_length(secret_hash) = 32)
);

-- What a login leaves behind: a chain of refresh tokens, each good once, or the
-- session of a browser. Tokens that were rotated stay until the chain expires,
-- for whoever shows one again has stolen it, or was stolen from.
CREATE TABLE refresh_tokens (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family     bigint NOT NULL, -- id of the first token of the chain
    user_id    bigint NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(), -- of a session; true to a minute
    rotated_at timestamptz,
    revoked_at timestamptz,
    kind       text  NOT NULL CONSTRAINT refresh_tokens_kind_known CHECK (kind IN ('refresh', 'session')),
    token_hash bytea NOT NULL CONSTRAINT refresh_tokens_hash_taken UNIQUE
               CONSTRAINT refresh_tokens_hash_sha256 CHECK (octet_length(token_hash) = 32)
);

CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id, expires_at);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);

-- +migrate Down
DROP TABLE refresh_tokens;
DROP TABLE api_keys;
DROP TABLE users;
