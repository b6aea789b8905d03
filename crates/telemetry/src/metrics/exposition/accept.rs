//! What the `Accept` header of a scrape asks for.

/// One of the formats that a reader understands, and how much it likes it.
struct Wish<'a> {
    media: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

/// Whether the header names our OpenMetrics and likes it at least as much as text. On a tie it
/// wins, because it says more.
///
/// # Source
///
/// RFC 9110, section 12.5.1, <https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1>.
pub(super) fn prefers_open_metrics(header: &str) -> bool {
    let wishes: Vec<_> = header.split(',').filter_map(wish).collect();
    let open = quality(&wishes, &[("application/openmetrics-text", "1.0.0")]);
    let text = quality(
        &wishes,
        &[("text/plain", "0.0.4"), ("text/*", ""), ("*/*", "")],
    );
    open.is_some_and(|open| open > 0.0 && open >= text.unwrap_or(0.0))
}

/// How much the first of `ranges` that is wished for, the most specific, is liked.
fn quality(wishes: &[Wish<'_>], ranges: &[(&str, &str)]) -> Option<f32> {
    ranges.iter().find_map(|(media, version)| {
        wishes
            .iter()
            .filter(|wish| wish.media.eq_ignore_ascii_case(media))
            .filter(|wish| wish.version.is_none_or(|wished| wished == *version))
            .map(|wish| wish.quality)
            .reduce(f32::max)
    })
}

/// None where the quality is no number from 0 to 1.
fn wish(text: &str) -> Option<Wish<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let mut wish = Wish {
        media: parts.next()?,
        version: None,
        quality: 1.0,
    };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("version") {
            wish.version = Some(value);
        } else if name.trim().eq_ignore_ascii_case("q") {
            let quality = value.parse().ok();
            wish.quality = quality.filter(|quality| (0.0..=1.0).contains(quality))?;
        }
    }
    Some(wish)
}
