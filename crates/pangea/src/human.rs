//! Numbers and texts as people read them.

use std::time::Duration;

use client::Timestamp;

/// Bytes in binary units, with three or four digits: `812 B`, `31.4 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        // What would be printed as 1024.0 is one of the next unit.
        if size < 1023.95 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

/// A count with its thousands apart: `199,210`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, which takes an s unless there is one: `1 client`, `8 clients`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// How long before `now` a moment was; nothing for a moment that never came.
pub(crate) fn ago(now: Timestamp, then_ms: u64) -> String {
    if then_ms == 0 {
        return String::new();
    }
    let seconds = now.since(Timestamp(then_ms)).as_secs();
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A span of time: `0.42 s`, `12.0 s`, `3 min 5 s`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match span.as_secs() {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// A share of one as a percentage; nothing when there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| format!("{:.1} %", share * 100.0))
}

/// A loss; nothing when there is none.
pub(crate) fn loss(loss: Option<f64>) -> String {
    loss.map_or_else(String::new, |loss| format!("{loss:.4}"))
}

/// What an evaluation measured, in a sentence; a regression has no accuracy.
pub(crate) fn measured(accuracy: Option<f64>, mean_loss: Option<f64>) -> String {
    match accuracy {
        Some(_) => format!("accuracy {}, loss {}", percent(accuracy), loss(mean_loss)),
        None => format!("loss {}", loss(mean_loss)),
    }
}

/// Text from elsewhere without what would move the cursor or change colours.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The same for text of several lines, which may also have tabs.
pub(crate) fn printable_lines(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_the_unit_that_fits() {
        let sizes = [0, 1023, 1024, 1536, 1_048_575, 1_048_576, u64::MAX];
        assert_eq!(
            sizes.map(bytes),
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1.5 KiB",
                "1.0 MiB",
                "1.0 MiB",
                "16777216.0 TiB"
            ]
        );
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        let counts = [0, 999, 1_000, 199_210, 1_234_567];
        assert_eq!(
            counts.map(count),
            ["0", "999", "1,000", "199,210", "1,234,567"]
        );
        assert_eq!(counted(1, "client"), "1 client");
        assert_eq!(counted(0, "client"), "0 clients");
    }

    #[test]
    fn moments_are_told_by_their_distance() {
        let now = Timestamp(1_000_000_000);
        let before = |seconds: u64| ago(now, now.0 - seconds * 1000);
        assert_eq!(before(0), "now");
        assert_eq!(before(59), "59 s ago");
        assert_eq!(before(120), "2 min ago");
        assert_eq!(before(7_300), "2 h ago");
        assert_eq!(before(200_000), "2 d ago");
        assert_eq!(ago(now, 0), "");
        assert_eq!(ago(now, now.0 + 5_000), "now");
    }

    #[test]
    fn spans_lose_digits_as_they_grow() {
        let spans = [420, 12_000, 185_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["0.42 s", "12.0 s", "3 min 5 s"]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("ada\u{1b}[2J\n"), "ada\u{fffd}[2J\u{fffd}");
        assert_eq!(
            printable_lines("a\tb\u{1b}[2J\r\n"),
            "a\tb\u{fffd}[2J\u{fffd}\n"
        );
    }
}
