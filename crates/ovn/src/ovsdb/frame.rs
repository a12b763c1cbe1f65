//! The boundaries of messages: JSON texts follow one another on the stream without separators.

/// The largest accepted message, in bytes: the first copy of a large database is one message.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Finds the ends of JSON objects in a stream; looks at each byte once.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    looked_at: usize,
    depth: u32,
    in_text: bool,
    escaped: bool,
}

/// The error: the stream has something that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// It does not begin like an object.
    #[error("the message is not a JSON object")]
    NoObject,
    /// It has no end within the limit.
    #[error("a message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
}

impl Framer {
    /// Adds received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message.
    ///
    /// # Errors
    /// The stream can never give another message.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, BadFrame> {
        while let Some(&byte) = self.buffer.get(self.looked_at) {
            self.looked_at += 1;
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let rest = self.buffer.split_off(self.looked_at);
                        self.looked_at = 0;
                        return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
                    }
                }
                b'"' if self.depth > 0 => self.in_text = true,
                _ if self.depth > 0 || byte.is_ascii_whitespace() => {}
                _ => return Err(BadFrame::NoObject),
            }
        }
        match self.buffer.len() > MESSAGE_BYTES_MAX {
            true => Err(BadFrame::TooLong),
            false => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_whole_however_the_stream_is_cut(
            texts in prop::collection::vec(".{0,12}", 1..6),
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let messages: Vec<String> =
                texts.iter().map(|t| serde_json::json!({ "a": [t, { t.as_str(): 1 }] }).to_string()).collect();
            let stream = messages.join(" \n");
            let (mut framer, mut found, mut at) = (Framer::default(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([stream.len()]) {
                let end = (at + cut).min(stream.len());
                framer.feed(&stream.as_bytes()[at..end]);
                at = end;
                while let Some(message) = framer.message().unwrap() {
                    found.push(String::from_utf8(message).unwrap().trim().to_owned());
                }
            }
            prop_assert_eq!(found, messages);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let mut framer = Framer::default();
        framer.feed(b"HTTP/1.1 400");
        assert_eq!(framer.message(), Err(BadFrame::NoObject));
    }
}
