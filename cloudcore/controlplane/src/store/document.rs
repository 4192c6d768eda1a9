//! A document in memory. Most of it are the names of its fields, again and again, so it is kept compressed: ten thousand pods
//! take a fraction of their text.

use bytes::Bytes;

/// Shorter documents are kept as they are: nothing worth the time would be saved.
const WORTH_IT: usize = 512;

/// The text of an object.
#[derive(Clone, Debug)]
pub struct Document(Form);

#[derive(Clone, Debug)]
enum Form {
    Plain(Bytes),
    /// A block of LZ4 that becomes so many bytes.
    Packed {
        block: Box<[u8]>,
        length: usize,
    },
}

impl Document {
    /// What is kept is copied to where it fits: a vector that is cut down leaves a hole behind it, and thousands of holes are as large
    /// as all documents.
    pub(super) fn new(text: &[u8]) -> Self {
        if text.len() >= WORTH_IT {
            let block = lz4_flex::block::compress(text);
            if block.len() < text.len() / 4 * 3 {
                return Self(Form::Packed { block: block.as_slice().into(), length: text.len() });
            }
        }
        Self(Form::Plain(Bytes::copy_from_slice(text)))
    }

    /// The text.
    pub fn text(&self) -> Bytes {
        match &self.0 {
            Form::Plain(text) => text.clone(),
            // Invariant: the block was made from so many bytes above; an empty document keeps this total.
            Form::Packed { block, length } => {
                lz4_flex::block::decompress(block, *length).unwrap_or_default().into()
            }
        }
    }

    /// Bytes of the text.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(text) => text.len(),
            Form::Packed { length, .. } => *length,
        }
    }

    /// Bytes that are kept in memory for it.
    pub(super) fn weight(&self) -> usize {
        match &self.0 {
            Form::Plain(text) => text.len(),
            Form::Packed { block, .. } => block.len(),
        }
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_whole(piece in prop::collection::vec(any::<u8>(), 0..200), times in 0_usize..60) {
            let text = piece.repeat(times);
            let document = Document::new(&text);
            prop_assert_eq!(document.len(), text.len());
            prop_assert!(document.weight() <= text.len());
            prop_assert_eq!(&document.text()[..], &text[..]);
        }
    }

    #[test]
    fn a_text_that_says_the_same_again_and_again_takes_less_room() {
        let text = br#"{"name":"VARIABLE","value":"value"},"#.repeat(40);
        let document = Document::new(&text);
        assert!(document.weight() < text.len() / 4, "{} of {}", document.weight(), text.len());
    }
}
