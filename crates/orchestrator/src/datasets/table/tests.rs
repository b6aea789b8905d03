use std::fmt::Write;
use std::io;

use super::*;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn table(text: &str) -> Table {
    read_table(text.as_bytes(), "label").unwrap()
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    read_table(text.as_ref(), "label").unwrap_err().to_string()
}

fn model_rows(text: &str) -> Result<Rows, TableError> {
    let classes = strings(&["cat", "dog"]);
    let labels = KnownLabels {
        column: "label",
        classes: &classes,
    };
    read_rows(text.as_bytes(), &strings(&["a", "b"]), Some(labels))
}

#[test]
fn a_file_becomes_names_numbers_and_labels() {
    let expected = Table {
        feature_names: strings(&["a", "b"]),
        classes: strings(&["cat", "dog"]),
        features: vec![1.0, 2.5, -3.0, 4e3],
        labels: vec![1, 0],
    };
    assert_eq!(table("a,label,b\n1,dog,2.5\n-3,cat,4e3\n"), expected);
}

#[test]
fn marks_endings_quotes_and_blanks_do_not_matter() {
    let plain = table("a,b,label\n1,2,x\n3,4,y\n");
    assert_eq!(table("\u{feff}a,b,label\n1,2,x\n3,4,y\n"), plain);
    assert_eq!(table("\u{feff}\"a\",b,label\n1,2,x\n3,4,y"), plain);
    assert_eq!(table("a,b,label\r\n1,2,x\r\n\r\n3,4,y\r\n"), plain);
    assert_eq!(table("\"a\",\"b\",label\n\"1\",2,\"x\"\n3,4,y\n"), plain);
    assert_eq!(table("\na, b, label\n\n 1, 2, x\n   \n3,4 ,y\n\n"), plain);
}

#[test]
fn a_quoted_field_may_hold_what_separates_fields() {
    let table = table("\"a,1\",label\n1,\"x \"\"y\"\"\"\n2,\"z\nz\"\n");
    assert_eq!(table.feature_names, ["a,1"]);
    assert_eq!(table.classes, ["x \"y\"", "z\nz"]);
}

#[test]
fn a_file_in_small_pieces_is_the_same_file() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    let text = "\u{feff}a,label\r\n1,\"x\"\r\n2,y\r\n";
    let trickled = read_table(Trickle(text.as_bytes()), "label").unwrap();
    assert_eq!(trickled, table(text));
}

#[test]
fn classes_sort_as_numbers_if_all_of_them_are() {
    assert_eq!(
        table("a,label\n1,10\n1,9\n1,-1\n").classes,
        ["-1", "9", "10"]
    );
    assert_eq!(table("a,label\n1,10\n1,9\n1,x\n").classes, ["10", "9", "x"]);
    assert_eq!(table("a,label\n1,10\n1,9\n1,-1\n").labels, [2, 1, 0]);
}

#[test]
fn rows_take_the_models_columns_in_the_models_order() {
    let rows = model_rows("b,id,label,a,id\n1,x,dog,2,x\n3,y,cat,4,y\n").unwrap();
    assert_eq!(rows.features, [2.0, 1.0, 4.0, 3.0]);
    assert_eq!(rows.labels, Some(vec![1, 0]));
}

#[test]
fn rows_need_no_labels_unless_asked() {
    let features = strings(&["b"]);
    let rows = read_rows("a,b\nx,1\ny,2\n".as_bytes(), &features, None).unwrap();
    assert_eq!((rows.features, rows.labels), (vec![1.0, 2.0], None));
}

#[test]
fn a_label_that_the_model_does_not_know_is_refused() {
    assert_eq!(
        model_rows("a,b,label\n1,2,cat\n1,2,cow\n")
            .unwrap_err()
            .to_string(),
        "line 3, column \"label\": \"cow\" is not a class of the model, which knows \"cat\", \
         \"dog\""
    );
    assert_eq!(
        model_rows("a,b\n1,2\n").unwrap_err().to_string(),
        "the header lacks \"label\"; its columns are \"a\", \"b\""
    );
}

#[test]
fn columns_that_the_model_needs_are_named() {
    assert_eq!(
        model_rows("c,label\n1,cat\n").unwrap_err().to_string(),
        "the header lacks \"a\", \"b\"; its columns are \"c\", \"label\""
    );
    assert_eq!(
        model_rows("a,b,c,a,label\n").unwrap_err().to_string(),
        "columns 1 and 4 are both named \"a\"; names must differ"
    );
    assert_eq!(
        model_rows("a,b,label\n").unwrap_err().to_string(),
        "the file has a header but no rows"
    );
}

#[test]
fn a_missing_label_column_is_answered_with_the_columns() {
    let mut header = String::from("pixel_0");
    for pixel in 1..64 {
        write!(header, ",pixel_{pixel}").unwrap();
    }
    assert_eq!(
        refusal(header),
        "the header lacks \"label\"; its columns are \"pixel_0\", \"pixel_1\", \"pixel_2\", \
         \"pixel_3\", \"pixel_4\", \"pixel_5\", \"pixel_6\", \"pixel_7\" and 56 more"
    );
}

#[test]
fn columns_have_names_of_their_own() {
    assert_eq!(
        refusal("a,b,a,label\n"),
        "columns 1 and 3 are both named \"a\"; names must differ"
    );
    assert_eq!(
        refusal(",a,label\n0,1,x\n"),
        "column 1 has no name; name it in the header, or remove it"
    );
    assert_eq!(
        refusal("label\nx\n"),
        "the only column is the label \"label\"; columns of numbers are expected beside it"
    );
}

#[test]
fn a_feature_is_a_finite_number() {
    assert_eq!(
        refusal("pixel_0_3,label\n1,x\nabc,y\n"),
        "line 3, column \"pixel_0_3\": \"abc\" is not a number"
    );
    assert_eq!(
        refusal("a,label\n,x\n"),
        "line 2, column \"a\": \"\" is not a number"
    );
    for number in ["NaN", "-inf", "1e60"] {
        assert_eq!(
            refusal(format!("a,label\n{number},x\n")),
            format!("line 2, column \"a\": \"{number}\" is not a finite number of 32 bits")
        );
    }
}

#[test]
fn what_a_message_repeats_is_shortened() {
    let long = "ß".repeat(1000);
    assert_eq!(
        refusal(format!("{long},label\n1,x\n{long},y\n")),
        format!(
            "line 3, column \"{start}…\": \"{start}…\" is not a number",
            start = "ß".repeat(40)
        )
    );
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let expected = "line 6, column \"a\": \"?\" is not a number";
    assert_eq!(refusal("a,label\n1,x\n\n\n1,y\n?,x\n"), expected);
    assert_eq!(
        refusal("a,label\r\n1,x\r\n\r\n\r\n1,y\r\n?,x\r\n"),
        expected
    );
    assert_eq!(refusal("a,label\n1,\"x\n\n\"\n1,y\n?,x"), expected);
}

#[test]
fn rows_are_as_long_as_the_header() {
    assert_eq!(
        refusal("a,label\n1,x\n1,x,2\n"),
        "line 3 has 3 fields; the header has 2"
    );
    assert_eq!(
        refusal("a,b,label\r\n1,2,x\r\n1\r\n"),
        "line 3 has 1 field; the header has 3"
    );
}

#[test]
fn a_file_has_a_header_and_rows() {
    let empty = "the file is empty; a header line and rows are expected";
    assert_eq!(refusal(""), empty);
    assert_eq!(refusal("\u{feff}"), empty);
    assert_eq!(refusal("\n  \r\n"), empty);
    assert_eq!(refusal("a,label\n\n"), "the file has a header but no rows");
}

#[test]
fn text_is_utf8() {
    assert_eq!(
        refusal(b"a,label\n1,caf\xe9\n"),
        "line 2, column \"label\": is not UTF-8 text; save the file as UTF-8"
    );
    assert_eq!(
        refusal(b"\xff\xfea\0,\0l\0\n\0"),
        "the name of column 1 is not UTF-8 text; save the file as UTF-8"
    );
}

#[test]
fn every_row_has_a_label_and_there_are_two_of_them() {
    assert_eq!(
        refusal("a,label\n1,x\n1,\n"),
        "line 3, column \"label\": is empty; every row needs a label"
    );
    assert_eq!(
        refusal("a,label\n1,x\n1,x\n"),
        "label column \"label\" holds only \"x\"; at least 2 classes are needed"
    );
}

#[test]
fn a_label_column_of_row_ids_is_recognised() {
    let mut text = String::from("a,label\n");
    for row in 0..=CLASSES_MAX {
        writeln!(text, "1,{row}").unwrap();
    }
    assert_eq!(
        refusal(text),
        "label column \"label\" holds more than 10000 different labels by line 10002; is it the \
         right column?"
    );
}

#[test]
fn more_features_than_a_model_takes_are_refused() {
    let text = "label".to_owned() + &",".repeat(FEATURES_MAX + 1);
    assert_eq!(
        refusal(text),
        "the file has 1000001 feature columns; at most 1000000 are accepted"
    );
}

#[test]
fn a_quote_left_open_does_not_fill_the_memory() {
    let endless = io::repeat(b'x');
    let text = "a,label\n1,x\n\n2,\"".as_bytes().chain(endless);
    assert_eq!(
        read_table(text, "label").unwrap_err().to_string(),
        "line 4 begins a row of more than 33554432 bytes; is a quote left open, or is this no CSV \
         file?"
    );
}

#[test]
fn a_source_that_fails_is_named() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the line went dead"))
        }
    }
    assert_eq!(
        read_table(Broken, "label").unwrap_err().to_string(),
        "the file cannot be read: the line went dead"
    );
}
