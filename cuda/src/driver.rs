//! The calls of the CUDA driver that the probe needs.

use std::ffi::{CStr, c_char, c_int, c_uint};

use cudarc::driver::sys::CUdevice_attribute::{
    self as Attribute, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
};

use crate::NoCuda;
use crate::library::{Library::Driver, Version};

/// CUDA_ERROR_NO_DEVICE.
const NO_DEVICE: c_int = 100;

/// Initializes the driver; before anything but its version is asked for.
pub(crate) fn init() -> Result<(), NoCuda> {
    type F = unsafe extern "C" fn(c_uint) -> c_int;
    // SAFETY: this is the type of cuInit, which wants zero flags.
    check("cuInit", unsafe { Driver.function::<F>("cuInit")?(0) })
}

/// The number of GPUs that this process may use.
pub(crate) fn device_count() -> Result<c_int, NoCuda> {
    type F = unsafe extern "C" fn(*mut c_int) -> c_int;
    let mut count = 0;
    // SAFETY: this is the type of cuDeviceGetCount, which writes one integer.
    let code = unsafe { Driver.function::<F>("cuDeviceGetCount")?(&mut count) };
    check("cuDeviceGetCount", code).map(|()| count)
}

/// A GPU, as the driver numbers it.
#[derive(Clone, Copy)]
pub(crate) struct Device(c_int);

impl Device {
    pub(crate) fn new(index: c_int) -> Result<Self, NoCuda> {
        type F = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
        let mut device = 0;
        // SAFETY: this is the type of cuDeviceGet, which writes one integer.
        let code = unsafe { Driver.function::<F>("cuDeviceGet")?(&mut device, index) };
        check("cuDeviceGet", code).map(|()| Self(device))
    }

    pub(crate) fn name(self) -> Result<String, NoCuda> {
        type F = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
        let mut name = [0u8; 256];
        let length = name.len() as c_int;
        // SAFETY: this is the type of cuDeviceGetName, which writes at most `length` bytes.
        let code = unsafe {
            Driver.function::<F>("cuDeviceGetName")?(name.as_mut_ptr().cast(), length, self.0)
        };
        check("cuDeviceGetName", code)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    pub(crate) fn compute_capability(self) -> Result<Version, NoCuda> {
        Ok((self.attribute(MAJOR)?, self.attribute(MINOR)?))
    }

    fn attribute(self, attribute: Attribute) -> Result<u32, NoCuda> {
        type F = unsafe extern "C" fn(*mut c_int, c_uint, c_int) -> c_int;
        let mut value = 0;
        // SAFETY: this is the type of cuDeviceGetAttribute, which writes one integer.
        let code = unsafe {
            Driver.function::<F>("cuDeviceGetAttribute")?(&mut value, attribute as c_uint, self.0)
        };
        check("cuDeviceGetAttribute", code).map(|()| value as u32)
    }

    pub(crate) fn memory_bytes(self) -> Result<u64, NoCuda> {
        type F = unsafe extern "C" fn(*mut usize, c_int) -> c_int;
        let mut bytes = 0;
        // SAFETY: this is the type of cuDeviceTotalMem_v2, which writes one size_t.
        let code = unsafe { Driver.function::<F>("cuDeviceTotalMem_v2")?(&mut bytes, self.0) };
        check("cuDeviceTotalMem", code).map(|()| bytes as u64)
    }
}

/// The error of the driver's result `code`, if it is one.
pub(crate) fn check(call: &'static str, code: c_int) -> Result<(), NoCuda> {
    match code {
        0 => Ok(()),
        NO_DEVICE => Err(NoCuda::NoDevice),
        _ => Err(NoCuda::Driver { call, code, message: message(code) }),
    }
}

/// What the driver says about a result code.
fn message(code: c_int) -> String {
    type F = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;
    let mut text = std::ptr::null();
    // SAFETY: this is the type of cuGetErrorString, which writes one pointer, null or to a string
    // that lives as long as the driver, which is never unloaded.
    unsafe {
        match Driver.function::<F>("cuGetErrorString").map(|describe| describe(code, &mut text)) {
            Ok(0) if !text.is_null() => CStr::from_ptr(text).to_string_lossy().into_owned(),
            _ => "the driver does not know this error".into(),
        }
    }
}
