//! A file as the body of a request, never whole in memory.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    io,
    path::Path,
    pin::Pin,
    task::{ready, Context, Poll},
};
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
};

/// How much is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The body.
pub(crate) struct FileBody {
    file: File,
    /// What of the length that it began with is yet to come.
    left: u64,
    piece: Vec<u8>,
}

impl FileBody {
    /// The file as it is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let left = file.metadata().await?.len();
        Ok(Self { file, left, piece: vec![0; PIECE_BYTES] })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(this.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut buffer = ReadBuf::new(&mut this.piece[..wanted]);
        ready!(Pin::new(&mut this.file).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left -= read.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(read)))))
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
