//! Numbers in host memory, in the very allocation that they came with.

use std::any::Any;
use std::ptr::NonNull;

use crate::{DType, Element, Error, Result};

/// Runs `$body` with `$E` as the Rust type of the elements of `$dtype`.
macro_rules! with_element {
    ($dtype:expr, $E:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F64 => {
                type $E = f64;
                $body
            }
            $crate::DType::F32 => {
                type $E = f32;
                $body
            }
            $crate::DType::F16 => {
                type $E = half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $E = half::bf16;
                $body
            }
            $crate::DType::I64 => {
                type $E = i64;
                $body
            }
            $crate::DType::I32 => {
                type $E = i32;
                $body
            }
            $crate::DType::I16 => {
                type $E = i16;
                $body
            }
            $crate::DType::I8 => {
                type $E = i8;
                $body
            }
            $crate::DType::U64 => {
                type $E = u64;
                $body
            }
            $crate::DType::U32 => {
                type $E = u32;
                $body
            }
            $crate::DType::U16 => {
                type $E = u16;
                $body
            }
            $crate::DType::U8 => {
                type $E = u8;
                $body
            }
            $crate::DType::Complex64 => {
                type $E = num_complex::Complex<f32>;
                $body
            }
            $crate::DType::Complex128 => {
                type $E = num_complex::Complex<f64>;
                $body
            }
            $crate::DType::Bool => {
                type $E = bool;
                $body
            }
        }
    };
}
pub(crate) use with_element;

/// The numbers of a `Vec`, whose element type is forgotten but for getting the `Vec` back.
pub(crate) struct Bytes {
    // The `len` initialised bytes from `address` are those of the elements of the `Vec` in `owner`.
    address: NonNull<u8>,
    len: usize,
    owner: Box<dyn Any + Send + Sync>,
}

// SAFETY: `address` points into the `Vec` in `owner`, which is `Send`, and nobody else has it.
unsafe impl Send for Bytes {}
// SAFETY: as above; through `&Bytes` the memory is only read.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// The numbers of `values`, where they are.
    pub(crate) fn new<E: Element>(mut values: Vec<E>) -> Self {
        let address = NonNull::new(values.as_mut_ptr().cast()).expect("a Vec is never null");
        // A `Vec` that moves leaves its elements where they are.
        Self { address, len: size_of_val(&values[..]), owner: Box::new(values) }
    }

    /// `len` numbers of `dtype`, which `fill` writes as bytes in native order.
    pub(crate) fn filled(
        dtype: DType,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let bytes = with_element!(dtype, E => Self::new(zeros::<E>(len)?));
        // SAFETY: any bytes are numbers; those of bools are checked before anyone can see them.
        fill(unsafe { std::slice::from_raw_parts_mut(bytes.address.as_ptr(), bytes.len) })?;
        if dtype == DType::Bool && bytes.as_bytes().iter().any(|&byte| byte > 1) {
            return Err(Error::Argument { op: "from_data", rule: "a bool must be 0 or 1".into() });
        }
        Ok(bytes)
    }

    /// Where the numbers are.
    pub(crate) fn address(&self) -> usize {
        self.address.as_ptr() as usize
    }

    /// The bytes of the numbers, in native order.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: the invariant of `address`.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }

    /// The numbers.
    ///
    /// # Safety
    /// They are of type `E`, or were filled in as such.
    pub(crate) unsafe fn as_slice<E: Element>(&self) -> &[E] {
        let first = self.address.as_ptr().cast::<E>();
        assert!(first.is_aligned() && self.len.is_multiple_of(size_of::<E>()));
        // SAFETY: the invariant of `address` and the caller's promise.
        unsafe { std::slice::from_raw_parts(first, self.len / size_of::<E>()) }
    }

    /// The numbers, to be changed.
    ///
    /// # Safety
    /// As [`Bytes::as_slice`].
    pub(crate) unsafe fn as_mut_slice<E: Element>(&mut self) -> &mut [E] {
        let first = self.address.as_ptr().cast::<E>();
        assert!(first.is_aligned() && self.len.is_multiple_of(size_of::<E>()));
        // SAFETY: the invariant of `address`, the caller's promise, and `self` is borrowed
        // exclusively.
        unsafe { std::slice::from_raw_parts_mut(first, self.len / size_of::<E>()) }
    }

    /// The `Vec` that the numbers came in, if that was one of `E`.
    pub(crate) fn into_vec<E: Element>(self) -> Result<Vec<E>, Self> {
        let Self { address, len, owner } = self;
        match owner.downcast::<Vec<E>>() {
            Ok(values) => Ok(*values),
            Err(owner) => Err(Self { address, len, owner }),
        }
    }
}

/// `len` zeros, or an error if there is no memory for them.
fn zeros<E: Element>(len: usize) -> Result<Vec<E>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| {
        let bytes = len.saturating_mul(size_of::<E>());
        Error::Memory { device: "the host".into(), bytes, usage: String::new() }
    })?;
    values.resize(len, E::default());
    Ok(values)
}
