//! A backend that computes nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::Backend;
use crate::op::Op;
use crate::{AnyTensor, Error, Result};

/// Checks and infers shapes, and never touches memory. Every tensor has an address of its own, so
/// a [`trace`](crate::trace()) can still tell tensors apart.
pub(crate) struct ShapeOnly;

impl Backend for ShapeOnly {
    fn name(&self) -> &str {
        "shape-only"
    }

    fn alloc(&self, _: usize) -> Option<usize> {
        static NEXT: AtomicUsize = AtomicUsize::new(64);
        Some(NEXT.fetch_add(64, Ordering::Relaxed))
    }

    unsafe fn free(&self, _: usize, _: usize) {}

    unsafe fn upload(&self, _: &[u8], _: usize) -> Result<()> {
        Ok(())
    }

    unsafe fn download(&self, _: usize, _: &mut [u8]) -> Result<()> {
        let what = "a shape-only tensor has no values to read".into();
        Err(Error::Device { op: "into_data", what })
    }

    fn execute(&self, _: &Op, _: &[&AnyTensor], _: &[AnyTensor]) -> Result<()> {
        Ok(())
    }
}
