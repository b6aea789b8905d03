//! The characters of a text, and their numbers.

use std::collections::BTreeSet;

use thiserror::Error;

/// Most characters that a message lists.
const LISTED_MAX: usize = 120;

/// Different characters in the order of their code points; a character's number is its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary(Vec<char>);

/// A character that is not in a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "has {character:?} as character {place}, which is not in the model's vocabulary of {size}: \
     {listed}"
)]
pub struct UnknownCharacter {
    /// The first one.
    pub character: char,
    /// Where it stands, counted from 1.
    pub place: usize,
    /// How many characters there are.
    pub size: usize,
    /// The characters there are, as far as a message has room.
    pub listed: String,
}

impl Vocabulary {
    /// Of these characters.
    #[must_use]
    pub fn new(characters: BTreeSet<char>) -> Self {
        Self(characters.into_iter().collect())
    }

    /// The vocabulary whose characters are the classes of a text.
    #[must_use]
    pub fn of_classes(classes: &[String]) -> Self {
        Self::new(classes.iter().flat_map(|class| class.chars()).collect())
    }

    /// The classes of a text: its characters, in the order of their numbers.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        self.0.iter().map(char::to_string).collect()
    }

    /// The number of a character, if it is there.
    #[must_use]
    pub fn token(&self, character: char) -> Option<u32> {
        let place = self.0.binary_search(&character).ok()?;
        u32::try_from(place).ok()
    }

    /// The numbers of all characters of `text`.
    ///
    /// # Errors
    ///
    /// [`UnknownCharacter`] names the first one that is not there.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, UnknownCharacter> {
        let token = |(character, place)| {
            self.token(character).ok_or_else(|| UnknownCharacter {
                character,
                place,
                size: self.0.len(),
                listed: self.listed(),
            })
        };
        text.chars().zip(1..).map(token).collect()
    }

    /// The characters with these numbers; of a number that is none, nothing.
    #[must_use]
    pub fn text(&self, tokens: &[u32]) -> String {
        let character = |token: &u32| self.0.get(*token as usize);
        tokens.iter().filter_map(character).collect()
    }

    /// All of them, one after the other.
    #[must_use]
    pub fn as_text(&self) -> String {
        self.0.iter().collect()
    }

    fn listed(&self) -> String {
        let first: String = self.0.iter().take(LISTED_MAX).collect();
        match self.0.len().saturating_sub(LISTED_MAX) {
            0 => format!("{first:?}"),
            more => format!("{first:?} and {more} more"),
        }
    }
}
