//! A file as the body of a request, without the whole file in memory.

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, Take},
};
use tokio_util::io::ReaderStream;

/// The size of one read, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// The body.
pub(crate) struct FileBody {
    pieces: ReaderStream<Take<File>>,
    /// The bytes of the initial length that are still unread.
    left: u64,
}

impl FileBody {
    /// The file with its current length.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let left = file.metadata().await?.len();
        Ok(Self { pieces: ReaderStream::with_capacity(file.take(left), PIECE_BYTES), left })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.pieces).poll_next(context)) {
            Some(Ok(piece)) => {
                self.left -= piece.len() as u64;
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_file_comes_piece_by_piece_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + 7).map(|n| n as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let body = FileBody::open(&path).await.unwrap();
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_an_error_and_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, b"hello").unwrap();
        let body = FileBody::open(&path).await.unwrap();
        std::fs::write(&path, b"").unwrap();
        assert_eq!(body.collect().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
