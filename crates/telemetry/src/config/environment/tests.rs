use super::*;

use std::time::Duration;

use crate::metrics::BadInput;
use crate::trace::TraceId;

fn of(variables: &[(&str, &str)]) -> Environment {
    let value = |(_, value): &(&str, &str)| (*value).to_owned();
    Environment::read(|name| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(value)
    })
}

/// What is said of the only problem.
fn problem(variable: &str, value: &str) -> String {
    let environment = of(&[(variable, value)]);
    let [problem] = environment.problems.try_into().unwrap();
    assert_eq!(problem.variable, variable);
    problem.to_string()
}

#[test]
fn nothing_leaves_a_process_whose_environment_says_nothing() {
    for environment in [
        of(&[]),
        of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("SENTRY_DSN", "")]),
    ] {
        assert_eq!(environment.otlp, None);
        assert_eq!(environment.sentry, None);
        assert_eq!(environment.filter, None);
        assert!(environment.prometheus_enabled);
        assert_eq!(environment.sampler, Sampler::all());
        assert!(!environment.datadog && !environment.new_relic);
        assert!(environment.secrets.is_empty() && environment.problems.is_empty());
    }
}

#[test]
fn an_endpoint_brings_the_numbers_of_opentelemetry() {
    let environment = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")]);
    assert!(environment.traces && environment.logs);
    let otlp = environment.otlp.unwrap();
    assert_eq!(otlp.endpoint, "http://localhost:4317");
    assert_eq!((otlp.queue, otlp.batch), (2_048, 512));
    assert_eq!(otlp.delay, Duration::from_secs(5));
    assert_eq!(otlp.timeout, Duration::from_secs(10));
}

#[test]
fn how_records_leave_can_be_said() {
    let environment = of(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%3Db%20c, tenant=7,"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]);
    assert!(environment.problems.is_empty());
    assert!(environment.logs && !environment.traces);
    let otlp = environment.otlp.unwrap();
    let headers = [("api-key", "a=b c"), ("tenant", "7")];
    let headers = headers.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(otlp.headers, headers);
    assert_eq!((otlp.queue, otlp.batch), (100, 100));
    assert_eq!(otlp.timeout, Duration::from_millis(250));
    assert_eq!(otlp.delay, Duration::from_millis(50));
}

#[test]
fn an_endpoint_for_one_signal_carries_that_one_alone() {
    let environment = of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1")]);
    assert!(environment.traces && !environment.logs);
    assert_eq!(environment.otlp.unwrap().endpoint, "http://a:1");
    let environment = of(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://a:1")]);
    assert!(environment.logs && !environment.traces);
    assert_eq!(environment.otlp.unwrap().endpoint, "http://a:1");
}

#[test]
fn two_endpoints_are_one_too_many() {
    let environment = of(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:2"),
    ]);
    assert_eq!(environment.otlp.unwrap().endpoint, "http://b:2");
    let [problem] = environment.problems.try_into().unwrap();
    assert!(problem.to_string().contains("http://b:2"), "{problem}");
}

#[test]
fn an_endpoint_without_a_scheme_is_told_how_to_write_it() {
    let variable = "OTEL_EXPORTER_OTLP_ENDPOINT";
    assert_eq!(
        problem(variable, "localhost:4317"),
        "OTEL_EXPORTER_OTLP_ENDPOINT is \"localhost:4317\"; \
         must be a URL with its scheme: write http://localhost:4317"
    );
    for value in [
        "ftp://a:1",
        "http://",
        "http://:4317",
        "a b",
        "unix:/run/x",
        "/x",
    ] {
        assert!(problem(variable, value).contains("http://"), "{value}");
        assert_eq!(of(&[(variable, value)]).otlp, None, "{value}");
    }
    let told = problem(variable, "http://me:hunter22@collector:4317");
    assert!(!told.contains("hunter22"), "{told}");
}

#[test]
fn what_cannot_be_read_is_told_with_what_could_and_the_default_is_used() {
    let told = problem("OTEL_TRACES_SAMPLER", "sometimes");
    assert!(
        told.starts_with("OTEL_TRACES_SAMPLER is \"sometimes\"; must be always_on, "),
        "{told}"
    );
    for (variable, value, accepted) in [
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp or none"),
        ("OTEL_LOGS_EXPORTER", "console", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "a whole number, 1 to"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key", "key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", "key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a-bin=c", "key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%0a", "key=value"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "a whole number, 1 to"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=", "key=value"),
        ("RUST_LOG", "a=loud", "info,orchestrator=debug"),
        ("LOG_LEVEL", "loud", "warning or error"),
        ("PROMETHEUS_ENABLED", "maybe", "true or false"),
        ("PROMETHEUS_PORT", "65536", "0 to 65535"),
        ("SENTRY_SEND_DEFAULT_PII", "some", "true or false"),
        ("SENTRY_DSN", "https://host/", "https://KEY@HOST/PROJECT"),
    ] {
        let told = problem(variable, value);
        assert!(told.contains(accepted), "{told}");
    }
    let environment = of(&[("OTEL_BSP_MAX_QUEUE_SIZE", "x".repeat(10_000).as_str())]);
    assert!(environment.problems[0].to_string().len() < 300);
}

#[test]
fn a_secret_is_told_to_nobody() {
    let told = problem("SENTRY_DSN", "0123456789abcdef");
    assert_eq!(
        told,
        "SENTRY_DSN is \"<hidden>\"; must be a DSN, https://KEY@HOST/PROJECT"
    );
    let environment = of(&[
        ("SENTRY_DSN", "https://0123456789abcdef@host/1"),
        ("DD_API_KEY", "datadog-key"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "api-key=a%20new%20relic,tenant=7",
        ),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    let mut secrets = environment.secrets.clone();
    secrets.sort();
    // Which of them are too short to be taken out of a text, the reports decide.
    let expected = [
        "7",
        "a new relic",
        "api-key=a%20new%20relic,tenant=7",
        "datadog-key",
        "https://0123456789abcdef@host/1",
        "test",
    ];
    assert_eq!(secrets, expected);
    let shown = format!("{environment:?}");
    for secret in ["datadog-key", "0123456789abcdef", "new relic", "%20"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(environment.datadog && !environment.new_relic);
}

#[test]
fn a_sampler_reads_with_its_argument() {
    let names = |argument| {
        of(&[
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ])
    };
    let none = names("0");
    assert!(!none.sampler.keeps(TraceId::random(), None));
    let [problem] = names("7").problems.try_into().unwrap();
    assert_eq!(
        problem.to_string(),
        "OTEL_TRACES_SAMPLER_ARG is \"7\"; must be a number from 0 to 1"
    );
}

#[test]
fn a_name_wins_over_the_one_among_the_attributes() {
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b%2Cc");
    let environment = of(&[attributes]);
    assert_eq!(environment.service_name.as_deref(), Some("a"));
    assert_eq!(
        environment.resource,
        [("team".to_owned(), "b,c".to_owned())]
    );
    let environment = of(&[attributes, ("OTEL_SERVICE_NAME", "d")]);
    assert_eq!(environment.service_name.as_deref(), Some("d"));
    assert_eq!(environment.resource.len(), 1);
}

#[test]
fn rusts_filter_wins_over_the_level_of_others() {
    let level = ("LOG_LEVEL", "Warning");
    assert_eq!(of(&[level]).filter.as_deref(), Some("warn"));
    let both = of(&[level, ("RUST_LOG", "info,a=debug")]);
    assert_eq!(both.filter.as_deref(), Some("info,a=debug"));
    let unreadable = of(&[level, ("RUST_LOG", "a=loud")]);
    assert_eq!(unreadable.filter.as_deref(), Some("warn"));
    assert_eq!(unreadable.problems.len(), 1);
}

#[test]
fn errors_go_where_sentry_says() {
    let dsn = ("SENTRY_DSN", "https://key@host/1");
    let sentry = of(&[dsn, ("APP_ENV", "staging")]).sentry.unwrap();
    assert_eq!(sentry.environment.as_deref(), Some("staging"));
    assert!(!sentry.send_default_pii);
    let sentry = of(&[
        dsn,
        ("APP_ENV", "staging"),
        ("SENTRY_ENVIRONMENT", "production"),
        ("SENTRY_SEND_DEFAULT_PII", "True"),
    ]);
    let sentry = sentry.sentry.unwrap();
    assert_eq!(sentry.environment.as_deref(), Some("production"));
    assert!(sentry.send_default_pii);
}

#[test]
fn a_problem_is_counted_by_what_it_concerns() {
    for (variable, kind) in [
        ("SENTRY_DSN", BadInput::Dsn),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", BadInput::Endpoint),
        ("LOG_LEVEL", BadInput::Setting),
    ] {
        let environment = of(&[(variable, "not one")]);
        assert_eq!(environment.problems[0].kind(), kind);
    }
}

#[test]
fn metrics_can_have_a_port_of_their_own() {
    let environment = of(&[("PROMETHEUS_ENABLED", "false"), ("PROMETHEUS_PORT", "9090")]);
    assert!(!environment.prometheus_enabled);
    assert_eq!(environment.prometheus_port, Some(9_090));
    assert_eq!(environment.log_dir, None);
    let environment = of(&[("LOG_DIR", "logs")]);
    assert_eq!(environment.log_dir, Some(PathBuf::from("logs")));
}
