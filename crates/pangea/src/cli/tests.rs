use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn refusal(line: &str) -> clap::Error {
    parse(line).expect_err(line)
}

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_reads_as_it_is_documented() {
    for line in [
        "pangea dataset import d.csv --label digit",
        "pangea dataset import d.csv --label digit --test-fraction 0.2 --seed 7 --name digits \
         --scaling none --replace",
        "pangea dataset list",
        "pangea dataset show digits",
        "pangea dataset show digits --partition dirichlet:0.5 --clients 8 --seed 7",
        "pangea submit job.yaml",
        "pangea submit job.yaml --watch --idempotency-key k",
        "pangea validate job.yaml",
        "pangea watch latest --from 4",
        "pangea runs",
        "pangea run 0199",
        "pangea run latest --lineage",
        "pangea replay latest 3",
        "pangea gc",
        "pangea gc --remove --older-than 30m",
        "pangea run export latest --format csv --file rounds.csv",
        "pangea cancel latest",
        "pangea pause latest",
        "pangea resume latest",
        "pangea workers",
        "pangea models",
        "pangea models digits",
        "pangea model download digits@3 --to m.safetensors",
        "pangea predict digits rows.csv --to classes.csv",
        "pangea evaluate digits@3 rows.csv",
        "pangea runs --output json --server localhost:50051",
        "pangea --output json --server unix:/run/pangea.sock runs",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_does_not_go_together_is_a_usage_error() {
    for line in [
        "pangea",
        "pangea run",
        "pangea run latest export",
        "pangea run --lineage",
        "pangea run export latest --lineage",
        "pangea replay latest",
        "pangea dataset show digits --clients 8",
        "pangea dataset show digits --partition iid",
        "pangea dataset import d.csv",
    ] {
        assert_eq!(refusal(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn a_bad_value_is_answered_with_good_ones() {
    for (line, good) in [
        ("pangea --server nowhere runs", "host:port"),
        (
            "pangea dataset show d --partition dir:1 --clients 2",
            "dirichlet:ALPHA",
        ),
        ("pangea model download digits@new", "NAME@VERSION"),
        ("pangea --output xml runs", "json"),
        ("pangea replay latest 0", "1.."),
    ] {
        let error = refusal(line);
        assert!(
            matches!(
                error.kind(),
                ErrorKind::ValueValidation | ErrorKind::InvalidValue
            ),
            "{line}"
        );
        assert!(error.to_string().contains(good), "{line}: {error}");
    }
}

#[test]
fn an_export_is_told_from_a_run_that_is_shown() {
    let export = parse("pangea run export latest").unwrap();
    assert!(format!("{:?}", export.command).contains("Export"));
    let show = parse("pangea run latest").unwrap();
    assert!(!format!("{:?}", show.command).contains("Export"));
}
