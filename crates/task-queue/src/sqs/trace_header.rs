//! The place in a trace, as AWS writes it beside a message.
//!
//! # Source
//!
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>;
//! a W3C trace id of any kind is told in that form, its first 32 bits in the place of the time:
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-traceids>.

use telemetry::trace::TraceContext;

/// Digits of an id of X-Ray's that stand for the time.
const TIME_DIGITS: usize = 8;

/// What `AWSTraceHeader` says for this `traceparent`; `None` for one that does not read.
pub(super) fn from_traceparent(traceparent: &str) -> Option<String> {
    let context: TraceContext = traceparent.parse().ok()?;
    let trace = context.trace.to_string();
    let (time, rest) = trace.split_at(TIME_DIGITS);
    let sampled = u8::from(context.sampled);
    let span = context.span;
    Some(format!(
        "Root=1-{time}-{rest};Parent={span};Sampled={sampled}"
    ))
}

/// The `traceparent` for this `AWSTraceHeader`; `None` where it names no span, or does not read.
/// What is undecided about sampling, or not said, is not sampled.
pub(super) fn to_traceparent(header: &str) -> Option<String> {
    let field = |name: &str| {
        let mut fields = header.split(';').filter_map(|field| field.split_once('='));
        fields.find_map(|(own, value)| (own.trim() == name).then_some(value.trim()))
    };
    let trace = field("Root")?.strip_prefix("1-")?.replace('-', "");
    let span = field("Parent")?;
    let flags = if field("Sampled") == Some("1") {
        "01"
    } else {
        "00"
    };
    let context: TraceContext = format!("00-{trace}-{span}-{flags}").parse().ok()?;
    Some(context.traceparent())
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    /// The example of the developer guide.
    const AWS: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

    #[test]
    fn the_two_forms_say_the_same() {
        assert_eq!(from_traceparent(W3C).as_deref(), Some(AWS));
        assert_eq!(to_traceparent(AWS).as_deref(), Some(W3C));
        let unsampled = (W3C.replace("-01", "-00"), AWS.replace("=1", "=0"));
        let unsampled = (unsampled.0, unsampled.1.replace("Root=0", "Root=1"));
        assert_eq!(from_traceparent(&unsampled.0), Some(unsampled.1.clone()));
        assert_eq!(to_traceparent(&unsampled.1), Some(unsampled.0));
    }

    #[test]
    fn a_header_reads_in_any_order_and_with_more_than_is_known() {
        let header = "Sampled=?; Lineage=a87bd80c:1|68fd508a:5;Parent=53995c3f42cd8ad8;\
                      Root=1-5759e988-bd862e3fe1be46a994272793";
        assert_eq!(to_traceparent(header), Some(W3C.replace("-01", "-00")));
    }

    #[test]
    fn what_names_no_place_is_left_out() {
        let wrong = [
            String::new(),
            "Root=1-5759e988-bd862e3fe1be46a994272793".to_owned(),
            AWS.replace("Root=1", "Root=2"),
            AWS.replace("5759e988", "5759e98"),
            AWS.replace("53995c3f42cd8ad8", "0000000000000000"),
            AWS.replace("5399", "53é9"),
            ";=;;".repeat(1000),
        ];
        for header in wrong {
            assert_eq!(to_traceparent(&header), None, "{header}");
        }
        assert_eq!(from_traceparent("00-0af7651916cd43dd-01"), None);
    }
}
