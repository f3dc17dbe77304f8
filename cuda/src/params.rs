//! What kernels get, with the layout that `kernels/common.cuh` gives it.

use kiln_tensor::{AnyTensor, Layout, MAX_RANK};

/// The parameters of a kernel: plain numbers without gaps between them.
///
/// # Safety
/// Every byte of a value is initialised, and every value of the bytes is a value of the type.
pub(crate) unsafe trait Params: Copy {
    fn bytes(&self) -> &[u8] {
        // SAFETY: all bytes of the value are initialised, by the promise of the trait.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: any bytes are a value of the type, by the promise of the trait.
        unsafe { std::slice::from_raw_parts_mut((&raw mut *self).cast(), size_of::<Self>()) }
    }
}

/// A tensor that is read: the address of its first element and its strides.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Operand {
    pub data: u64,
    pub strides: [i64; MAX_RANK],
}

impl Operand {
    pub const NONE: Self = Self { data: 0, strides: [0; MAX_RANK] };

    pub fn new(x: &AnyTensor, strides: [i64; MAX_RANK]) -> Self {
        Self { data: address(x), strides }
    }

    /// With the tensor's own strides, axis by axis.
    pub fn of(x: &AnyTensor) -> Self {
        Self::new(x, strides(x.layout()))
    }
}

// SAFETY: the fields are integers and fill the structure.
unsafe impl Params for Operand {}

/// Where the first element of a tensor is.
pub(crate) fn address(x: &AnyTensor) -> u64 {
    (x.buffer().address() + x.layout().offset() * x.dtype().size()) as u64
}

/// The strides of a layout, zero for the axes that it does not have.
pub(crate) fn strides(layout: &Layout) -> [i64; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    strides.iter_mut().zip(layout.strides()).for_each(|(to, &from)| *to = from as i64);
    strides
}

/// What went wrong first in a kernel.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Fault {
    pub code: u32,
    pub operation: u32,
    pub value: i64,
    pub limit: i64,
}

impl Fault {
    pub const NONE: Self = Self { code: 0, operation: 0, value: 0, limit: 0 };
    pub const INDEX: u32 = 1;
    pub const COUNT: u32 = 3;
    pub const WEIGHT: u32 = 4;
    pub const TOTAL: u32 = 5;
    pub const FEW: u32 = 6;
}

// SAFETY: the fields are integers and fill the structure.
unsafe impl Params for Fault {}
