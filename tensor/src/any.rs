//! The tensor of any rank and kind, on which everything is built.

use std::cell::RefCell;
use std::thread::LocalKey;

use smallvec::SmallVec;

use crate::apply::{Outputs, Track, Tracked, apply, apply_one, apply_owned, create};
use crate::buffer::Buffer;
use crate::bytes::Bytes;
use crate::error::OrFail;
use crate::handle::{Handle, Kept, Places};
use crate::layout::Layout;
use crate::op::{Cast, Meta, Op};
use crate::{DType, Device, Error, Result, Shape};

/// A tensor of any rank, kind and dtype: what the tape, parameter stores and optimizers handle.
/// [`Tensor`](crate::Tensor) is the typed face of it.
///
/// Cloning copies one pointer. The values of a tensor never change under another handle: whatever
/// writes in place copies a shared buffer first.
#[derive(Clone)]
pub struct AnyTensor(Handle<Inner>);

struct Inner {
    buffer: Handle<Buffer>,
    // Every element that the layout reaches lies inside of the buffer.
    layout: Layout,
    dtype: DType,
    tracked: Option<Tracked>,
}

impl Kept for Inner {
    #[inline]
    fn places() -> &'static LocalKey<Places<Self>> {
        thread_local! {
            static PLACES: Places<Inner> = const { RefCell::new(Vec::new()) };
        }
        &PLACES
    }
}

impl AnyTensor {
    /// A contiguous tensor whose memory the next operation fills.
    #[inline]
    pub(crate) fn uninitialized(meta: Meta, device: Device) -> Result<Self> {
        // Shape rules compute extents; the product is checked once, here.
        let elements = meta.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        let bytes = elements.and_then(|n| n.checked_mul(meta.dtype.size()));
        let bytes = bytes.filter(|&bytes| bytes <= isize::MAX as usize).ok_or_else(|| {
            Error::Memory { device: device.name().into(), bytes: usize::MAX, usage: String::new() }
        })?;
        let buffer = Handle::new(Buffer::new(bytes, device)?);
        Ok(Self::new(buffer, Layout::contiguous(meta.shape), meta.dtype))
    }

    /// As [`AnyTensor::uninitialized`], with the shape, layout and device of a dense tensor.
    #[inline]
    pub(crate) fn uninitialized_like(dense: &Self, dtype: DType) -> Result<Self> {
        let bytes = dense.num_elements() * dtype.size();
        let buffer = Handle::new(Buffer::new(bytes, dense.device())?);
        Ok(Self::new(buffer, *dense.layout(), dtype))
    }

    /// Whether both have one shape, dtype and device.
    #[inline]
    pub fn is_like(&self, other: &Self) -> bool {
        self.dtype() == other.dtype()
            && self.device() == other.device()
            && self.shape_ref() == other.shape_ref()
    }

    /// Whether the elements lie in row-major order without gaps from the start of the buffer.
    #[inline]
    pub(crate) fn is_dense(&self) -> bool {
        self.0.layout.offset() == 0 && self.0.layout.is_contiguous()
    }

    #[inline]
    fn new(buffer: Handle<Buffer>, layout: Layout, dtype: DType) -> Self {
        Self(Handle::new(Inner { buffer, layout, dtype, tracked: None }))
    }

    /// A contiguous tensor in memory that is taken over.
    pub(crate) fn adopt(host: Bytes, meta: Meta, device: Device) -> Self {
        debug_assert_eq!(host.as_bytes().len(), meta.bytes());
        let buffer = Handle::new(Buffer::adopt(host, device));
        Self::new(buffer, Layout::contiguous(meta.shape), meta.dtype)
    }

    /// The host memory that was taken over, if nobody else can reach it and these are its elements.
    pub(crate) fn into_host(mut self) -> Result<Bytes, Self> {
        if !self.is_exclusive() || self.0.buffer.bytes() != self.meta().bytes() {
            return Err(self);
        }
        let Inner { buffer, layout, dtype, tracked } =
            self.0.into_inner().expect("this is the only handle");
        let buffer = buffer.into_inner().expect("this is the only tensor in it");
        buffer.into_host().map_err(|buffer| {
            Self(Handle::new(Inner { buffer: Handle::new(buffer), layout, dtype, tracked }))
        })
    }

    /// The extents.
    #[inline]
    pub fn shape(&self) -> Shape {
        *self.0.layout.shape()
    }

    #[inline]
    pub(crate) fn shape_ref(&self) -> &Shape {
        self.0.layout.shape()
    }

    /// The number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.0.layout.rank()
    }

    /// The number of elements.
    #[inline]
    pub fn num_elements(&self) -> usize {
        self.shape_ref().num_elements()
    }

    /// The type of the elements.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Shape and dtype.
    #[inline]
    pub fn meta(&self) -> Meta {
        Meta { shape: self.shape(), dtype: self.dtype() }
    }

    /// Where the elements lie.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// The memory they lie in.
    #[inline]
    pub fn buffer(&self) -> &Buffer {
        &self.0.buffer
    }

    /// The device.
    #[inline]
    pub fn device(&self) -> Device {
        self.0.buffer.device()
    }

    /// What tracks this tensor, if anything does.
    #[inline]
    pub fn tracked(&self) -> Option<&Tracked> {
        self.0.tracked.as_ref()
    }

    /// The same values, tracked by `tracked` from now on.
    pub fn with_tracked(&self, tracked: Option<Tracked>) -> Self {
        let Inner { buffer, layout, dtype, .. } = &*self.0;
        Self(Handle::new(Inner { buffer: buffer.clone(), layout: *layout, dtype: *dtype, tracked }))
    }

    /// Attaches what tracks a tensor that was just made.
    // By its parts: a struct would go through memory, and be read before it is written there.
    #[inline]
    pub fn track(&mut self, node: std::sync::Arc<dyn Track>, output: u32) {
        match self.0.get_mut() {
            Some(inner) => inner.tracked = Some(Tracked { node, output }),
            None => *self = self.with_tracked(Some(Tracked { node, output })),
        }
    }

    /// Takes the handle apart and returns what tracked the tensor, if this was the last handle.
    /// A tape uses it to drop long graphs without recursion.
    pub fn into_tracked(self) -> Option<Tracked> {
        self.0.into_inner().and_then(|inner| inner.tracked)
    }

    /// The same values with nothing tracking them.
    #[inline]
    pub(crate) fn alias(&self) -> Self {
        self.with_tracked(None)
    }

    /// The same values, cut off from the tape: no gradient flows back through the result.
    #[inline]
    pub fn detach(&self) -> Self {
        if self.tracked().is_none() { self.clone() } else { self.alias() }
    }

    #[inline]
    pub(crate) fn view_as(&self, layout: Layout, dtype: DType) -> Self {
        Self::new(self.0.buffer.clone(), layout, dtype)
    }

    /// Whether this handle is the only way to these values, which fill their buffer: then it may
    /// be written.
    #[inline]
    pub(crate) fn is_exclusive(&mut self) -> bool {
        self.0.get_mut().is_some_and(|inner| {
            inner.buffer.get_mut().is_some()
                && inner.layout.offset() == 0
                && inner.layout.is_contiguous()
        })
    }

    /// Copies the values unless this handle is the only way to them; what tracks it stays.
    pub(crate) fn make_exclusive(&mut self) -> Result<()> {
        if !self.is_exclusive() {
            let copy = apply(&Op::from(Cast { dtype: self.dtype() }), &[&self.alias()])?;
            let tracked = self.0.tracked.clone();
            *self = copy.into_iter().next().expect("an output").with_tracked(tracked);
        }
        Ok(())
    }

    /// Applies `op` to this tensor and `rest`, and returns its first output. Panics with the
    /// operation's error text.
    #[inline]
    #[track_caller]
    pub fn apply(&self, op: impl Into<Op>, rest: &[&AnyTensor]) -> AnyTensor {
        let op = op.into();
        match rest {
            [] => apply_one(&op, &[self]),
            [b] => apply_one(&op, &[self, b]),
            [b, c] => apply_one(&op, &[self, b, c]),
            rest => {
                let inputs: Vec<_> = std::iter::once(self).chain(rest.iter().copied()).collect();
                apply_one(&op, &inputs)
            }
        }
        .or_fail()
    }

    /// As [`AnyTensor::apply`], with all outputs.
    #[inline]
    #[track_caller]
    pub fn apply_all(&self, op: impl Into<Op>, rest: &[&AnyTensor]) -> Outputs {
        let inputs: SmallVec<[&AnyTensor; 6]> =
            std::iter::once(self).chain(rest.iter().copied()).collect();
        apply(&op.into(), &inputs).or_fail()
    }

    /// As [`AnyTensor::apply`]; this tensor's memory becomes the result's where that is possible.
    #[inline]
    #[track_caller]
    pub fn apply_owned(self, op: impl Into<Op>, rest: &[&AnyTensor]) -> AnyTensor {
        apply_owned(&op.into(), self, rest).or_fail()
    }

    /// Applies an operation that needs no inputs. Panics with its error text.
    #[track_caller]
    pub fn create(op: impl Into<Op>, device: Device) -> AnyTensor {
        create(&op.into(), device).or_fail()
    }

    /// The same values on another device. The gradient does not follow.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if *device == self.device() {
            return Ok(self.clone());
        }
        if *device == Device::shape_only() {
            return Self::uninitialized(self.meta(), *device);
        }
        Self::from_data(&self.to_data()?, device)
    }
}

impl std::fmt::Debug for AnyTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {}, {}", self.shape(), self.dtype(), self.device())?;
        f.write_str(if self.tracked().is_some() { ", tracked)" } else { ")" })
    }
}
