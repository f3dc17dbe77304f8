//! Weights in files: safetensors, PyTorch's `.pt`, NumPy's `.npz`.
//!
//! [`StateDict`] holds values by path, [`WeightFile`] reads them from a file when they are asked for.
//! Which format a file has is seen from its content:
//!
//! | file | read | written |
//! |---|---|---|
//! | `.safetensors` | yes | [`StateDict::save`] |
//! | shards with `.safetensors.index.json` or `.bin.index.json` | yes | [`StateDict::save_sharded`] |
//! | `.pt`, `.pth`, `.bin` of `torch.save` since PyTorch 1.6 | yes | no: PyTorch reads safetensors |
//! | `.npz` | yes | [`StateDict::save`] |
//! | a folder as Hugging Face has them, with one of these | yes | |
//!
//! Nothing in a file is trusted: a damaged or hostile one is an error, runs nothing, and makes the
//! reader allocate no more than a small multiple of the file's size (where arrays of a `.npz` file
//! are compressed: of the size that its bytes can stand for).

mod fit;
mod npz;
mod pickle;
mod pt;
mod rebuild;
mod remap;
mod report;
mod safetensors;
mod shards;
mod source;
mod state_dict;
mod weight_file;

pub(crate) use fit::{check_fit, load_into};
pub use pt::Value;
pub use report::LoadReport;
#[doc(hidden)]
pub use safetensors::safetensors_parts;
pub use state_dict::StateDict;
pub use weight_file::{WeightFile, WeightFormat};

/// The parsers alone, for fuzzing.
#[doc(hidden)]
pub mod parsers {
    pub use super::pickle::parse_any as pickle;
    pub use super::shards::parse_any as index;

    /// Whether these bytes are a weight file that is complete in itself.
    pub fn file(bytes: &[u8]) -> bool {
        let file = super::WeightFile::from_bytes(bytes.to_vec());
        file.and_then(super::WeightFile::into_state_dict).is_ok()
    }
}

/// An error about the file of this name.
fn file_error(path: &str, what: impl std::fmt::Display) -> kiln_tensor::Error {
    kiln_tensor::Error::File { path: path.into(), what: what.to_string() }
}
