//! Reads a text as rows of characters.
//!
//! A row is a window of as many characters as the context holds, labelled with the character after
//! it; the next window begins there, so that every character but the first is learnt once. What
//! remains at the end and is shorter than a window is left out. A text is read twice, a piece at a
//! time: for its characters, then for its rows.

use std::collections::BTreeSet;
use std::io::{self, Read};

use thiserror::Error;

use super::table::{CLASSES_MAX, FEATURES_MAX};

mod vocabulary;

pub use vocabulary::{UnknownCharacter, Vocabulary};

/// Bytes read at once.
const PIECE: usize = 64 * 1024;

/// Stands at the beginning of some files and is no part of their text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The name of what rows are labelled with.
pub const LABEL: &str = "next";

/// What a text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its different characters.
    pub vocabulary: Vocabulary,
    /// How many characters it has.
    pub characters: usize,
}

/// Why a file is not a text that can be cut into rows. Offsets are in bytes, from 0.
#[derive(Debug, Error)]
pub enum TextError {
    /// The source of the text failed.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Nothing at all.
    #[error("the file is empty; a text is expected")]
    Empty,
    /// Another encoding.
    #[error("the byte at offset {offset}, 0x{byte:02x}, is not UTF-8 text; save the file as UTF-8")]
    NotUtf8 {
        /// Where the first character begins that is none.
        offset: u64,
        /// What stands there.
        byte: u8,
    },
    /// Nothing to tell apart.
    #[error("the text holds only {character:?}; at least 2 different characters are needed")]
    OneCharacter {
        /// Its only character.
        character: char,
    },
    /// Probably no text.
    #[error(
        "the text holds more than {CLASSES_MAX} different characters by offset {offset}; is it \
         one?"
    )]
    TooManyCharacters {
        /// Where there were too many.
        offset: u64,
    },
    /// No row has so many characters.
    #[error("a context of {context} is not accepted; it must be from 1 to {FEATURES_MAX}")]
    Context {
        /// What was given.
        context: usize,
    },
    /// Not one row.
    #[error(
        "the text has {characters} characters; a context of {context} takes at least {}, a window \
         and the character after it", .context + 1
    )]
    TooShort {
        /// Characters of the text.
        characters: usize,
        /// Characters of a window.
        context: usize,
    },
}

impl Survey {
    /// Looks through a text.
    ///
    /// # Errors
    ///
    /// [`TextError`] names the first thing that is wrong.
    pub fn of(text: impl Read) -> Result<Self, TextError> {
        let (mut found, mut characters) = (BTreeSet::new(), 0);
        each_character(text, |offset, character| {
            characters += 1;
            found.insert(character);
            match found.len() > CLASSES_MAX {
                true => Err(TextError::TooManyCharacters { offset }),
                false => Ok(()),
            }
        })?;
        match (found.first(), found.len()) {
            (None, _) => Err(TextError::Empty),
            (Some(only), 1) => Err(TextError::OneCharacter { character: *only }),
            _ => Ok(Self {
                vocabulary: Vocabulary::new(found),
                characters,
            }),
        }
    }

    /// How many rows of `context` characters there are.
    ///
    /// # Errors
    ///
    /// [`TextError::Context`] and [`TextError::TooShort`].
    pub fn rows(&self, context: usize) -> Result<usize, TextError> {
        if context == 0 || context > FEATURES_MAX {
            return Err(TextError::Context { context });
        }
        match (self.characters - 1) / context {
            0 => Err(TextError::TooShort {
                characters: self.characters,
                context,
            }),
            rows => Ok(rows),
        }
    }
}

/// Hands the numbers of each row's characters and of the one after it to `act`, in order.
///
/// # Errors
///
/// [`TextError`], when the text cannot be read again.
pub fn read_rows(
    text: impl Read,
    vocabulary: &Vocabulary,
    context: usize,
    mut act: impl FnMut(&[f32], u32),
) -> Result<(), TextError> {
    let mut window = Vec::with_capacity(context);
    each_character(text, |_, character| {
        // The survey has seen them all.
        let token = vocabulary.token(character).unwrap_or(0);
        if window.len() == context {
            act(&window, token);
            window.clear();
        }
        window.push(token as f32);
        Ok(())
    })
}

/// Calls `act` with the offset of each character, and the character.
fn each_character(
    mut text: impl Read,
    mut act: impl FnMut(u64, char) -> Result<(), TextError>,
) -> Result<(), TextError> {
    let mut buffer = vec![0; PIECE];
    // Where the buffer begins in the file, and the bytes in it of a character that was cut off.
    let (mut offset, mut held) = (0_u64, 0);
    loop {
        let read = match text.read(&mut buffer[held..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let filled = held + read;
        let whole = match std::str::from_utf8(&buffer[..filled]) {
            Ok(_) => filled,
            Err(error) if error.error_len().is_none() && read > 0 => error.valid_up_to(),
            Err(error) => {
                return Err(TextError::NotUtf8 {
                    offset: offset + error.valid_up_to() as u64,
                    byte: buffer[error.valid_up_to()],
                });
            }
        };
        let piece = std::str::from_utf8(&buffer[..whole]).unwrap_or_default();
        for (place, character) in piece.char_indices() {
            let offset = offset + place as u64;
            if offset > 0 || character != BYTE_ORDER_MARK {
                act(offset, character)?;
            }
        }
        if read == 0 {
            return Ok(());
        }
        buffer.copy_within(whole..filled, 0);
        (offset, held) = (offset + whole as u64, filled - whole);
    }
}

#[cfg(test)]
mod tests;
