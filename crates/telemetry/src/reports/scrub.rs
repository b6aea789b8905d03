//! Takes secrets out of what is sent.

use std::borrow::Cow;
use std::sync::LazyLock;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;
use sentry::protocol::{Event, Value};

/// What stands where a secret was.
const SCRUBBED: &str = "[scrubbed]";

/// A secret that is shorter is a word of the language (`test`, `dev`): taking it out would spoil
/// every text and hide nothing. After a key that names a secret it goes all the same.
const SECRET_MIN: usize = 6;

/// What a secret is called, as a whole word or between `_` and `-`.
const NAMES: &str = r"(?:pass(?:word|wd|phrase)?|pwd|secrets?|token|authorization|auth|cookie|credentials?|dsn|api[_-]?key|access[_-]?key|private[_-]?key|license[_-]?key)";

/// `name=value`, `"name": "value"`, `Name: Some("value")`, `Authorization: Bearer value`.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?ix) (?P<name> \b (?:[a-z0-9]+[_-])* {NAMES} (?:[_-][a-z0-9]+)* \b)
           (?P<sign> \\?["']? \s* [:=] \s* (?:Some\()? )
           (?: (?P<scheme> (?:bearer|basic|digest|token|apikey) \s+ ) )?
           (?: \\?"(?:[^"\\]|\\[^"])*\\?" | '[^']*' | [^\s,;&"'(){{}}\[\]]+ )"#
    ))
});

/// `scheme://user:password@host`.
static USERINFO: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?i)\b(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/?\#"'<>]*@"#));

/// `Bearer value`, wherever it stands.
static BEARER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?P<scheme>bearer|basic)\s+[a-z0-9._~+/=-]{8,}"));

/// A key that names a secret.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)^(?:[a-z0-9]+[._-])*{NAMES}(?:[._-][a-z0-9]+)*$"
    ))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a test reads every pattern")
}

#[derive(Debug)]
pub(super) struct Scrubber {
    /// Longest first, so that no part of one is left where it holds another.
    secrets: Vec<String>,
}

impl Scrubber {
    pub(super) fn new(secrets: &[String]) -> Self {
        let mut known: Vec<String> = secrets
            .iter()
            .map(|secret| secret.trim())
            .filter(|secret| secret.len() >= SECRET_MIN)
            .flat_map(spellings)
            .collect();
        known.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
        Self { secrets: known }
    }

    /// The event without its secrets. If something in it cannot be read back, that it happened is
    /// all that is told.
    pub(super) fn event(&self, event: Event<'static>) -> Event<'static> {
        let remains = Event {
            event_id: event.event_id,
            level: event.level,
            timestamp: event.timestamp,
            release: event.release.clone(),
            environment: event.environment.clone(),
            sdk: event.sdk.clone(),
            platform: event.platform.clone(),
            message: Some("an event that could not be scrubbed is left out".to_owned()),
            ..Event::default()
        };
        let scrubbed = serde_json::to_value(event).and_then(|mut event| {
            self.value(&mut event);
            serde_json::from_value(event)
        });
        scrubbed.unwrap_or(remains)
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(scrubbed) = self.text(text) {
                    *text = scrubbed;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(entries) => {
                for (key, value) in entries {
                    if KEY.is_match(key) && !value.is_null() {
                        *value = SCRUBBED.into();
                    } else {
                        self.value(value);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret) {
                text = Cow::Owned(text.replace(secret, SCRUBBED));
            }
        }
        let with = format!("${{name}}${{sign}}{SCRUBBED}");
        text = replaced(text, &PAIR, &with);
        text = replaced(text, &USERINFO, &format!("${{scheme}}{SCRUBBED}@"));
        replaced(text, &BEARER, &format!("${{scheme}} {SCRUBBED}"))
    }
}

fn replaced<'a>(text: Cow<'a, str>, pattern: &Regex, with: &str) -> Cow<'a, str> {
    match pattern.replace_all(&text, with) {
        Cow::Borrowed(_) => text,
        Cow::Owned(scrubbed) => Cow::Owned(scrubbed),
    }
}

/// How a secret looks as it is, in a URL, and in the debug form of a text.
fn spellings(secret: &str) -> [String; 3] {
    let quoted = format!("{secret:?}");
    [
        secret.to_owned(),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        quoted[1..quoted.len() - 1].to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sentry::protocol::{Context, Exception};

    use super::*;

    fn scrubbed(text: &str) -> String {
        let secrets = [
            "hunter2".to_owned(),
            "p@ss/w\"rd".to_owned(),
            "test".to_owned(),
        ];
        Scrubber::new(&secrets).text(text).into_owned()
    }

    #[test]
    fn a_known_secret_goes_in_every_spelling() {
        for text in [
            "hunter2",
            "xhunter2x",
            "p@ss/w\"rd",
            "p%40ss%2Fw%22rd",
            r#"p@ss/w\"rd"#,
        ] {
            let text = scrubbed(&format!("before {text} after"));
            assert!(
                !text.contains("hunter") && !text.contains("ss/w") && !text.contains("ss%2F"),
                "{text}"
            );
            assert!(
                text.starts_with("before ") && text.ends_with(" after"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_called_a_secret_goes() {
        let cases = [
            ("password=abc", "password=[scrubbed]"),
            (
                "PASSWORD: abc, user: ann",
                "PASSWORD: [scrubbed], user: ann",
            ),
            (
                "AWS_SECRET_ACCESS_KEY=abc/def+1",
                "AWS_SECRET_ACCESS_KEY=[scrubbed]",
            ),
            ("url?token=abc&page=2", "url?token=[scrubbed]&page=2"),
            ("session-token = abc", "session-token = [scrubbed]"),
            (
                r#"{"api_key":"a b c","n":1}"#,
                r#"{"api_key":[scrubbed],"n":1}"#,
            ),
            (
                r#"{\"api_key\":\"abc\",\"n\":1}"#,
                r#"{\"api_key\":[scrubbed],\"n\":1}"#,
            ),
            (
                r#"Config { password: Some("a b"), port: 1 }"#,
                r"Config { password: Some([scrubbed]), port: 1 }",
            ),
            ("Authorization: Bearer abc.def", "Authorization: [scrubbed]"),
            ("authorization=Basic YWJj", "authorization=[scrubbed]"),
            ("sent Bearer abcdefgh123", "sent Bearer [scrubbed]"),
            (
                "postgres://ann:abc@db/pangea",
                "postgres://[scrubbed]@db/pangea",
            ),
            (
                "at https://key@sentry.example/1 now",
                "at https://[scrubbed]@sentry.example/1 now",
            ),
            ("DD_API_KEY=abc", "DD_API_KEY=[scrubbed]"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrubbed(text), expected);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let texts = [
            "test data set is missing",
            "tokens_per_second=7",
            "passed: 3 of 4",
            "author: ann",
            "round 3 closed: 8 updates, 2 refused",
            "http://127.0.0.1:4317/v1 answers 503",
            "see ann@example.org",
            "crates/telemetry/src/trace/span.rs:7",
        ];
        for text in texts {
            assert_eq!(scrubbed(text), text);
        }
    }

    #[test]
    fn every_part_of_an_event_is_looked_at() {
        let secret = || "hunter2".to_owned();
        let mut fields = BTreeMap::new();
        fields.insert("error".to_owned(), secret().into());
        fields.insert("nested".to_owned(), serde_json::json!([{"db_password": 7}]));
        let event = Event {
            message: Some(secret()),
            logger: Some("kitchen".to_owned()),
            tags: BTreeMap::from([("tag".to_owned(), secret())]),
            extra: BTreeMap::from([("token".to_owned(), "swordfish".into())]),
            contexts: BTreeMap::from([("fields".to_owned(), Context::Other(fields))]),
            exception: vec![Exception {
                ty: "panic".to_owned(),
                value: Some(secret()),
                ..Exception::default()
            }]
            .into(),
            ..Event::default()
        };
        let event_id = event.event_id;
        let event = Scrubber::new(&[secret()]).event(event);
        let text = serde_json::to_string(&event).unwrap();
        assert!(
            !text.contains("hunter2") && !text.contains("swordfish"),
            "{text}"
        );
        assert!(!text.contains("\"db_password\":7"), "{text}");
        assert_eq!(event.event_id, event_id);
        assert_eq!(event.logger.as_deref(), Some("kitchen"));
        assert_eq!(text.matches(SCRUBBED).count(), 6, "{text}");
    }

    #[test]
    fn an_event_without_secrets_stays_as_it_is() {
        let event = Event {
            message: Some("round lost".to_owned()),
            ..Event::default()
        };
        let scrubbed = Scrubber::new(&[]).event(event.clone());
        let read = |event| serde_json::to_value(event).unwrap();
        assert_eq!(read(scrubbed), read(event));
    }
}
