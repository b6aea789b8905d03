//! What the run store's columns hold: odd values, and the order of the others.

use federation::acceptance::Refusal;
use orchestrator::store::{Receipt, StoreError};

use crate::facts::{NOW, new_run, receipt, run, with_round};
use crate::home::{Home, at_every_home};

at_every_home!(
    a_value_that_does_not_read_is_named_by_its_column,
    a_receipt_keeps_its_loss_whether_it_is_a_number_or_not,
    pages_go_on_where_the_last_one_ended,
);

async fn a_value_that_does_not_read_is_named_by_its_column(home: Home) {
    let store = with_round(&home).await;
    store
        .receive(run(1), &receipt(1), &Ok(()), &[])
        .await
        .unwrap();
    let column = |error| match error {
        StoreError::Corrupt { column, .. } => column,
        other => panic!("{other}"),
    };
    for (statement, expected) in [
        ("UPDATE runs SET rounds_committed = -1", "rounds_committed"),
        ("UPDATE runs SET dataset_digest = 'odd'", "dataset_digest"),
        ("UPDATE runs SET job = '{}'", "job"),
        ("UPDATE runs SET state = 'odd'", "state"),
    ] {
        home.sql(statement).await;
        assert_eq!(column(store.run(run(1)).await.unwrap_err()), expected);
    }
    for (statement, expected) in [
        ("UPDATE rounds SET base = 'odd'", "base"),
        ("UPDATE rounds SET cohort = '[-1]'", "cohort"),
        ("UPDATE rounds SET phase = 'odd'", "phase"),
    ] {
        home.sql(statement).await;
        let error = store.unfinished_round(run(1)).await.unwrap_err();
        assert_eq!(column(error), expected);
    }
    home.sql("UPDATE receipts SET bytes = -1").await;
    let error = store.receipts(run(1), 1).await.unwrap_err();
    assert_eq!(column(error), "bytes");
    home.sql("UPDATE events SET body = '{}' WHERE sequence = 2")
        .await;
    let error = store.events_after(run(1), 0).await.unwrap_err();
    assert_eq!(column(error), "body");
}

async fn a_receipt_keeps_its_loss_whether_it_is_a_number_or_not(home: Home) {
    let store = with_round(&home).await;
    // As often as there are connections, each of which remembers its statements.
    let none = [f64::NAN, f64::INFINITY].repeat(8);
    let numbers = [0.1 + 0.2, f64::MIN_POSITIVE].repeat(8);
    let losses = none.iter().chain(&numbers).copied();
    for (attempt, mean_loss) in (1..).zip(losses) {
        let receipt = Receipt {
            mean_loss,
            ..receipt(attempt)
        };
        let refused = Err(Refusal::Duplicate);
        store
            .receive(run(1), &receipt, &refused, &[])
            .await
            .unwrap();
    }
    let kept = store.receipts(run(1), 1).await.unwrap();
    let bits = kept.iter().map(|receipt| receipt.mean_loss.to_bits());
    let nan = f64::NAN.to_bits();
    let expected = none
        .iter()
        .map(|_| nan)
        .chain(numbers.iter().map(|number| number.to_bits()));
    assert!(bits.eq(expected), "{kept:#?}");
}

async fn pages_go_on_where_the_last_one_ended(home: Home) {
    let store = home.open().await;
    if let Home::Server(_) = home {
        // Whoever set up the server may have chosen the order of a language.
        let language = r#"ALTER TABLE runs ALTER COLUMN run TYPE TEXT COLLATE "en-US-x-icu";
            ALTER TABLE datasets ALTER COLUMN name TYPE TEXT COLLATE "en-US-x-icu""#;
        home.sql(language).await;
    }
    // Ids that begin with a digit, and with a letter.
    let numbers = [1, 0xa << 124, 0xf << 124, u128::MAX];
    for number in numbers {
        let new = new_run(number, &number.to_string());
        store.submit(&new, NOW).await.unwrap();
    }
    let mut before = None;
    for number in numbers.into_iter().rev() {
        let page = store.runs(before, 1).await.unwrap();
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].run, run(number));
        before = Some(page[0].run);
    }
    assert!(store.runs(before, 1).await.unwrap().is_empty());
}
