use super::*;

fn survey(text: &[u8]) -> Result<Survey, String> {
    Survey::of(text).map_err(|error| error.to_string())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tokens are small whole numbers"
)]
fn rows(text: &str, context: usize) -> Vec<(String, String)> {
    let Survey { vocabulary, .. } = Survey::of(text.as_bytes()).unwrap();
    let mut rows = Vec::new();
    read_rows(text.as_bytes(), &vocabulary, context, |window, label| {
        let tokens: Vec<u32> = window.iter().map(|token| *token as u32).collect();
        rows.push((vocabulary.text(&tokens), vocabulary.text(&[label])));
    })
    .unwrap();
    rows
}

/// Yields one byte at a time.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else {
            return Ok(0);
        };
        buffer[0] = *first;
        self.0 = rest;
        Ok(1)
    }
}

#[test]
fn the_vocabulary_is_every_character_once_in_the_order_of_code_points() {
    let found = survey("día\nday é".as_bytes()).unwrap();
    assert_eq!(found.characters, 9);
    assert_eq!(found.vocabulary.as_text(), "\n adyéí");
    assert_eq!(found.vocabulary.tokens("ay\n").unwrap(), [2, 4, 0]);
    let classes = found.vocabulary.classes();
    assert_eq!(Vocabulary::of_classes(&classes), found.vocabulary);
}

#[test]
fn a_character_is_read_whole_wherever_the_pieces_end() {
    let text = "aéb€c🦀d".as_bytes();
    assert_eq!(Survey::of(Drops(text)).unwrap(), Survey::of(text).unwrap());
    // Four bytes each, the last of them across the end of a piece.
    let long = format!("x{}", "🦀".repeat(PIECE / 4 + 10));
    assert_eq!(survey(long.as_bytes()).unwrap().characters, PIECE / 4 + 11);
}

#[test]
fn windows_follow_each_other_and_are_labelled_with_the_character_after_them() {
    let row = |window: &str, label: &str| (window.to_owned(), label.to_owned());
    assert_eq!(
        rows("abcdefghij", 3),
        [row("abc", "d"), row("def", "g"), row("ghi", "j")]
    );
    // The last window has no character after it.
    assert_eq!(rows("abcdefghi", 3), [row("abc", "d"), row("def", "g")]);
    for (text, context) in [("abcdefghij", 3), ("abcdefghi", 3), ("ab", 1), ("abc", 2)] {
        let counted = survey(text.as_bytes()).unwrap().rows(context).unwrap();
        assert_eq!(counted, rows(text, context).len(), "{text} {context}");
    }
}

#[test]
fn a_mark_of_the_byte_order_is_no_part_of_the_text() {
    assert_eq!(survey(b"\xef\xbb\xbfab"), survey(b"ab"));
    assert_eq!(rows("\u{feff}abc", 2), rows("abc", 2));
    // Anywhere else it is a character.
    assert_eq!(survey("a\u{feff}b".as_bytes()).unwrap().characters, 3);
}

#[test]
fn what_is_no_text_is_refused_with_its_place() {
    let refusal = |text: &[u8]| survey(text).unwrap_err();
    assert_eq!(
        refusal(b"ab\xffcd"),
        "the byte at offset 2, 0xff, is not UTF-8 text; save the file as UTF-8"
    );
    // A character that the file ends in.
    assert_eq!(
        refusal(b"abc\xe2\x82"),
        "the byte at offset 3, 0xe2, is not UTF-8 text; save the file as UTF-8"
    );
    let mut late = vec![b'a'; 2 * PIECE + 5];
    late.extend(b"b\xfe");
    assert!(refusal(&late).contains(&format!("offset {}", 2 * PIECE + 6)));
    assert_eq!(refusal(b""), "the file is empty; a text is expected");
    assert_eq!(
        refusal(b"aaa"),
        "the text holds only 'a'; at least 2 different characters are needed"
    );
    let many: String = ('\u{4e00}'..).take(CLASSES_MAX + 1).collect();
    assert_eq!(
        refusal(many.as_bytes()),
        "the text holds more than 10000 different characters by offset 30000; is it one?"
    );
}

#[test]
fn a_context_that_the_text_does_not_fill_is_refused_with_both_numbers() {
    let found = survey(b"abcdefgh").unwrap();
    let refusal = |context| found.rows(context).unwrap_err().to_string();
    assert_eq!(found.rows(7).unwrap(), 1);
    assert_eq!(
        refusal(8),
        "the text has 8 characters; a context of 8 takes at least 9, a window and the character \
         after it"
    );
    assert_eq!(
        refusal(0),
        "a context of 0 is not accepted; it must be from 1 to 1000000"
    );
    assert!(refusal(1_000_001).starts_with("a context of 1000001 is not accepted"));
}

#[test]
fn a_character_outside_of_the_vocabulary_is_named_with_its_place() {
    let vocabulary = survey(b"ab\n").unwrap().vocabulary;
    assert_eq!(
        vocabulary.tokens("abé").unwrap_err().to_string(),
        "has 'é' as character 3, which is not in the model's vocabulary of 3: \"\\nab\""
    );
    let many: String = ('\u{4e00}'..).take(200).collect();
    let vocabulary = survey(many.as_bytes()).unwrap().vocabulary;
    let refusal = vocabulary.tokens("a").unwrap_err().to_string();
    assert!(refusal.ends_with(" and 80 more"), "{refusal}");
}
