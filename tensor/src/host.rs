//! Between tensors and host memory: values go in and come out, without a copy where they can.

use crate::error::OrFail;
use crate::op::Meta;
use crate::{AnyTensor, Device, Element, Error, Result, Shape, TensorData};

impl AnyTensor {
    /// A tensor with a copy of the values of `data` on `device`.
    pub fn from_data(data: &TensorData, device: &Device) -> Result<Self> {
        let tensor = Self::uninitialized(Meta::new(data.shape(), data.dtype()), *device)?;
        // SAFETY: the buffer was just allocated for as many bytes, and nobody else has it.
        unsafe { device.backend().upload(data.bytes(), tensor.buffer().address())? };
        Ok(tensor)
    }

    /// A tensor with the values of `data` on `device`. A device that computes in host memory (the
    /// CPU) takes the memory of `data` over instead of copying it.
    pub fn from_owned_data(data: TensorData, device: &Device) -> Result<Self> {
        let meta = Meta::new(data.shape(), data.dtype());
        if meta.is_empty() || !device.backend().in_host_memory() {
            return Self::from_data(&data, device);
        }
        Ok(Self::adopt(data.into_bytes(), meta, *device))
    }

    /// A tensor of the numbers of `values`, whose memory the CPU takes over: nothing is copied.
    /// Operations may write into it, as into any tensor's memory, and it is freed with the last
    /// tensor that uses it. Panics if the number of values is not that of `shape`.
    ///
    /// ```
    /// use kiln_tensor::{AnyTensor, Device};
    /// let values = vec![1.0f32, 2.0, 3.0, 4.0];
    /// let address = values.as_ptr();
    /// let x = AnyTensor::from_vec(values, [2, 2], &Device::cpu())?;
    /// assert_eq!(x.as_slice::<f32>()?.as_ptr(), address);
    /// let values = x.into_vec::<f32>()?;
    /// assert_eq!(values.as_ptr(), address);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn from_vec<E: Element>(
        values: Vec<E>,
        shape: impl Into<Shape>,
        device: &Device,
    ) -> Result<Self> {
        Self::from_owned_data(TensorData::new(values, shape), device)
    }

    /// A copy of the values, in row-major order.
    pub fn to_data(&self) -> Result<TensorData> {
        let source = self.contiguous();
        let address = source.buffer().address() + source.layout().offset() * self.dtype().size();
        TensorData::filled(self.shape(), self.dtype(), |bytes| {
            // SAFETY: a contiguous tensor covers as many bytes from its offset, and its buffer is
            // only written while no tensor shares it.
            unsafe { self.device().backend().download(address, bytes) }
        })
    }

    /// The values, in row-major order. They are not copied if the tensor was made of a `Vec` or of
    /// [`TensorData`] and no other tensor shares its memory.
    pub fn into_data(self) -> Result<TensorData> {
        let meta = self.meta();
        match self.into_host() {
            // SAFETY: `from_owned_data` took over the values of a `TensorData`, which are of this
            // number and came as a `Vec` of their dtype; a tensor keeps both as long as it has the
            // memory.
            Ok(host) => Ok(unsafe { TensorData::from_parts(host, meta.shape, meta.dtype) }),
            Err(tensor) => tensor.to_data(),
        }
    }

    /// The elements where they are, in row-major order.
    ///
    /// An error if they are not of type `E`, do not lie in that order without gaps (then
    /// [`AnyTensor::contiguous`] copies them so), or are not in host memory.
    pub fn as_slice<E: Element>(&self) -> Result<&[E]> {
        const OP: &str = "as_slice";
        if self.dtype() != E::DTYPE {
            let rule = format!("the elements are not {}", E::DTYPE);
            return Err(Error::DType { op: OP, dtypes: vec![self.dtype()], rule });
        }
        if !self.layout().is_contiguous() {
            let rule = "the elements do not lie in row-major order; copy with `contiguous`".into();
            return Err(Error::Shape { op: OP, shapes: vec![self.shape()], rule });
        }
        if !self.device().backend().in_host_memory() {
            let what = format!("the elements are on {}; read them with `to_data`", self.device());
            return Err(Error::Device { op: OP, what });
        }
        let first = self.buffer().address() as *const E;
        // SAFETY: a contiguous layout covers `num_elements` elements of the dtype from its offset
        // inside of the buffer, which is aligned for them and initialised; a backend writes bools
        // as 0 or 1. Nobody writes while this borrows the tensor: what writes in place holds the
        // only handle.
        Ok(unsafe {
            std::slice::from_raw_parts(first.add(self.layout().offset()), self.num_elements())
        })
    }

    /// A copy of the elements in row-major order. An error if they are not of type `E`.
    pub fn to_vec<E: Element>(&self) -> Result<Vec<E>> {
        match self.as_slice() {
            Ok(elements) => Ok(elements.to_vec()),
            Err(_) => self.to_data()?.into_vec(),
        }
    }

    /// The elements in row-major order, without a copy where [`AnyTensor::into_data`] needs none.
    /// An error if they are not of type `E`.
    pub fn into_vec<E: Element>(self) -> Result<Vec<E>> {
        self.into_data()?.into_vec()
    }

    /// The only element, converted to `E`. Panics if there is not exactly one.
    #[track_caller]
    pub fn item<E: Element>(&self) -> E {
        self.try_item().or_fail()
    }

    /// As [`AnyTensor::item`], with an error if there is not exactly one element.
    pub fn try_item<E: Element>(&self) -> Result<E> {
        let rule = || "only a tensor of one element is a number".to_string();
        let error = || Error::Shape { op: "item", shapes: vec![self.shape()], rule: rule() };
        if self.num_elements() != 1 {
            return Err(error());
        }
        self.to_data()?.iter::<E>().next().ok_or_else(error)
    }
}
