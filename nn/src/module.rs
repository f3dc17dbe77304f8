//! What a module is: something whose parameters, buffers and modes can be visited.

use std::fmt;

use kiln_tensor::{AnyTensor, DType, Device, Error, OrFail, Result, fail};

use crate::PathPattern;
use crate::store::{LoadReport, StateDict, WeightFile, check_fit, load_into};
pub use crate::visitor::{Visitor, VisitorMut};

/// Where a parameter is inside of a model: `layers.0.weight`. A path is a chain of borrowed names,
/// so walking over a model allocates nothing.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: Name<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Name<'a> {
    Field(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The path of a whole model.
    pub const ROOT: Path<'static> = Path { parent: None, name: Name::Field("") };

    /// The path of a field.
    pub fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), name: Name::Field(name) }
    }

    /// The path of an element of a list.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), name: Name::Index(index) }
    }
}

impl Path<'_> {
    /// Whether `text` is how this path is displayed; nothing is allocated for it.
    pub fn is(&self, text: &str) -> bool {
        /// What is left to be written.
        struct Rest<'a>(&'a str);
        impl fmt::Write for Rest<'_> {
            fn write_str(&mut self, written: &str) -> fmt::Result {
                self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Rest(text);
        fmt::Write::write_fmt(&mut rest, format_args!("{self}")).is_ok() && rest.0.is_empty()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        if parent.parent.is_some() {
            f.write_str(".")?;
        }
        match self.name {
            Name::Field(name) => f.write_str(name),
            Name::Index(index) => write!(f, "{index}"),
        }
    }
}

impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A model or a part of one. Derive it: `#[derive(Module)]`.
///
/// A field that is no module is an error, unless it is marked:
///
/// ```
/// # extern crate kiln_nn as kiln;
/// use kiln_nn::{Linear, Module};
/// use std::time::Instant;
/// #[derive(Module)]
/// struct Model {
///     fc: Linear,
///     #[module(skip)]
///     started: Instant,
/// }
/// ```
///
/// ```compile_fail,E0277
/// # extern crate kiln_nn as kiln;
/// use kiln_nn::{Linear, Module};
/// use std::time::Instant;
/// #[derive(Module)]
/// struct Model {
///     fc: Linear,
///     started: Instant,
/// }
/// ```
///
/// A plain tensor is neither trained nor saved, so it is no module either: say which by
/// [`Param`](crate::Param) or [`Buffer`](crate::Buffer).
///
/// ```compile_fail,E0277
/// # extern crate kiln_nn as kiln;
/// #[derive(kiln_nn::Module)]
/// struct Scale {
///     factor: kiln_tensor::Tensor<1>,
/// }
/// ```
///
/// # Tied weights
///
/// A weight that a model uses in two places is one parameter of one field, and `forward` takes it
/// from there. PyTorch's files know it by both names; `tied` gives the second one, which loading
/// accepts in the place of the first. If the model has a parameter of its own under that name,
/// nothing is tied:
///
/// ```
/// # extern crate kiln_nn as kiln;
/// use kiln_nn::{Embedding, EmbeddingConfig, Linear, Module};
/// use kiln_tensor::{Device, Int, Tensor, module};
/// #[derive(Module)]
/// #[module(tied("lm_head.weight", to = "wte.weight"))]
/// struct Model {
///     wte: Embedding,
///     lm_head: Option<Linear>,
/// }
/// impl Model {
///     fn forward(&self, tokens: &Tensor<2, Int>) -> Tensor<3> {
///         let x = self.wte.forward(tokens);
///         match &self.lm_head {
///             Some(head) => head.forward(&x),
///             None => module::linear_activation(&x, &self.wte.weight, None, None),
///         }
///     }
/// }
/// let model = Model { wte: EmbeddingConfig::new(5, 2).init(&Device::cpu()), lm_head: None };
/// assert_eq!(model.forward(&Tensor::from([[0i64, 1, 4]])).dims(), [1, 3, 5]);
/// assert_eq!(model.num_params(), 5 * 2);
/// assert_eq!(model.state_dict().get("lm_head.weight"), model.state_dict().get("wte.weight"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    label = "this is neither a layer, nor made of layers",
    note = "derive it with `#[derive(Module)]`, or mark the field `#[module(skip)]`"
)]
pub trait Module {
    /// Shows every parameter and buffer to `visitor`.
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor);

    /// Lets `visitor` change every parameter, buffer and mode.
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut);

    /// The number of numbers in all parameters, also in frozen ones; a tied one counts once.
    fn num_params(&self) -> usize {
        self.named_params().iter().map(|(_, tensor)| tensor.num_elements()).sum()
    }

    /// The number of numbers in the parameters that are not frozen.
    fn num_trainable_params(&self) -> usize {
        let params = self.named_params();
        let trained = params.iter().filter(|(_, tensor)| tensor.tracked().is_some());
        trained.map(|(_, tensor)| tensor.num_elements()).sum()
    }

    /// Every module that derives `Module`, with its path and the name of its type, from the outside
    /// in: `torch.nn.Module.named_modules`.
    ///
    /// ```
    /// use kiln_nn::{LinearConfig, Module, Relu, Sequential};
    /// use kiln_tensor::Device;
    /// let linear = LinearConfig::new(2, 2).init(&Device::cpu());
    /// let model = Sequential::new().add(linear).add(Relu::new());
    /// let names = [("", "Sequential"), ("0", "Linear"), ("1", "Relu")];
    /// assert_eq!(model.named_modules(), names.map(|(path, name)| (path.to_string(), name)));
    /// ```
    fn named_modules(&self) -> Vec<(String, &'static str)> {
        struct Collect(Vec<(String, &'static str)>);
        impl Visitor for Collect {
            fn enter_module(&mut self, path: &Path<'_>, name: &'static str) {
                self.0.push((path.to_string(), name));
            }
        }
        let mut collect = Collect(Vec::new());
        self.visit(&Path::ROOT, &mut collect);
        collect.0
    }

    /// Every parameter with its path, in the order of declaration.
    fn named_params(&self) -> Vec<(String, AnyTensor)> {
        struct Collect(Vec<(String, AnyTensor)>);
        impl Visitor for Collect {
            fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
                self.0.push((path.to_string(), tensor.clone()));
            }
        }
        let mut collect = Collect(Vec::new());
        self.visit(&Path::ROOT, &mut collect);
        collect.0
    }

    /// Every buffer with its path, in the order of declaration.
    fn named_buffers(&self) -> Vec<(String, AnyTensor)> {
        struct Collect(Vec<(String, AnyTensor)>);
        impl Visitor for Collect {
            fn buffer(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
                self.0.push((path.to_string(), tensor.clone()));
            }
        }
        let mut collect = Collect(Vec::new());
        self.visit(&Path::ROOT, &mut collect);
        collect.0
    }

    /// Puts every layer in training mode: dropout drops, batch normalisation uses the batch.
    fn train(&mut self) {
        set_mode(|visitor| self.visit_mut(&Path::ROOT, visitor), true);
    }

    /// Puts every layer in evaluation mode.
    fn eval(&mut self) {
        set_mode(|visitor| self.visit_mut(&Path::ROOT, visitor), false);
    }

    /// Turns the training of all parameters on or off; a frozen one gets no gradient.
    fn set_trainable(&mut self, trainable: bool) {
        struct Set(bool);
        impl VisitorMut for Set {
            fn param(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
                set_trainable(tensor, self.0);
            }
        }
        self.visit_mut(&Path::ROOT, &mut Set(trainable));
    }

    /// Ends the training of the parameters whose paths fit a [`PathPattern`], and tells how many
    /// they are. An error if there are none, which is nearly always a mistake in the pattern.
    ///
    /// ```
    /// use kiln_nn::{LinearConfig, Module};
    /// use kiln_tensor::Device;
    /// let mut layers = [0, 1].map(|_| LinearConfig::new(2, 2).init(&Device::cpu()));
    /// assert_eq!(layers.freeze("0.*")?, 2);
    /// assert_eq!(layers.num_trainable_params(), 2 * 2 + 2);
    /// assert!(layers.freeze("encoder.*").is_err());
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    fn freeze(&mut self, pattern: &str) -> Result<usize> {
        set_matching(|visitor| self.visit_mut(&Path::ROOT, visitor), pattern, false)
    }

    /// Lets the parameters whose paths fit a [`PathPattern`] be trained; see [`Module::freeze`].
    fn unfreeze(&mut self, pattern: &str) -> Result<usize> {
        set_matching(|visitor| self.visit_mut(&Path::ROOT, visitor), pattern, true)
    }

    /// Converts every parameter and buffer of floats to another dtype of floats. What is trained
    /// stays so, as a new leaf. Panics if `dtype` is not one of floats.
    #[track_caller]
    fn to_dtype(&mut self, dtype: DType) {
        if !dtype.is_float() {
            let rule = "parameters are floats".into();
            fail(Error::DType { op: "to_dtype", dtypes: vec![dtype], rule });
        }
        struct Convert(DType);
        impl VisitorMut for Convert {
            fn tensor(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
                if tensor.dtype().is_float() && tensor.dtype() != self.0 {
                    replace(tensor, &tensor.detach().cast(self.0));
                }
            }
        }
        self.visit_mut(&Path::ROOT, &mut Convert(dtype));
    }

    /// Moves every parameter and buffer to `device`.
    fn to_device(&mut self, device: &Device) -> Result<()> {
        struct Move(Device, Result<()>);
        impl VisitorMut for Move {
            fn tensor(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
                match tensor.to_device(&self.0) {
                    Ok(moved) => replace(tensor, &moved),
                    Err(error) => self.1 = Err(error),
                }
            }
        }
        let mut visitor = Move(*device, Ok(()));
        self.visit_mut(&Path::ROOT, &mut visitor);
        visitor.1
    }

    /// Every parameter and buffer by its path.
    fn state_dict(&self) -> StateDict {
        StateDict::of(|visitor| self.visit(&Path::ROOT, visitor))
    }

    /// Takes the values whose path and shape fit, in the dtype of the model, and reports the rest.
    fn load_state_dict(&mut self, state: &StateDict) -> LoadReport {
        load_into(state, |visitor| self.visit_mut(&Path::ROOT, visitor)).or_fail()
    }

    /// Writes every parameter and buffer to a file that appears whole or not at all, and that
    /// PyTorch can load: a safetensors file, or NumPy's if `path` ends in `.npz`. For half
    /// precision, other names or several files: `model.state_dict().to_dtype(..).save(path)`.
    fn save_file(&self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.state_dict().save(path)
    }

    /// Takes every parameter and buffer from a file of any format that [`WeightFile::open`] knows.
    /// An error, and an unchanged model, if anything is missing, unexpected or of another shape.
    fn load_file(&mut self, path: impl AsRef<std::path::Path>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        self.load_from(&WeightFile::open(path)?)
    }

    /// Takes what fits from a file, as [`Module::load_file`], and reports the rest.
    fn load_file_partial(&mut self, path: impl AsRef<std::path::Path>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        self.load_from_partial(&WeightFile::open(path)?)
    }

    /// As [`Module::load_file`] from a file that is open, and whose entries may have been renamed.
    /// One tensor after the other is read. If that fails in the middle, for a broken disk or a bool
    /// that is none, the error comes after some parameters took their values.
    fn load_from(&mut self, file: &WeightFile) -> Result<LoadReport> {
        check_fit(file, |visitor| self.visit(&Path::ROOT, visitor)).strict(file.name())?;
        self.load_from_partial(file)
    }

    /// Takes what fits from a file that is open, and reports the rest.
    fn load_from_partial(&mut self, file: &WeightFile) -> Result<LoadReport> {
        load_into(file, |visitor| self.visit_mut(&Path::ROOT, visitor))
    }
}

fn set_mode(visit: impl FnOnce(&mut dyn VisitorMut), training: bool) {
    struct Set(bool);
    impl VisitorMut for Set {
        fn mode(&mut self, training: &mut bool) {
            *training = self.0;
        }
    }
    visit(&mut Set(training));
}

fn set_trainable(tensor: &mut AnyTensor, trainable: bool) {
    *tensor = if trainable { kiln_autograd::leaf(tensor) } else { tensor.detach() };
}

/// Puts other values in the place of a parameter or a buffer, as a new leaf if it is trained.
fn replace(tensor: &mut AnyTensor, values: &AnyTensor) {
    let trained = tensor.tracked().is_some();
    *tensor = if trained { kiln_autograd::leaf(values) } else { values.clone() };
}

fn set_matching(
    visit: impl FnOnce(&mut dyn VisitorMut),
    pattern: &str,
    trainable: bool,
) -> Result<usize> {
    struct Set {
        pattern: PathPattern,
        trainable: bool,
        paths: Vec<String>,
    }
    impl VisitorMut for Set {
        fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
            let path = path.to_string();
            if self.pattern.matches(&path) {
                set_trainable(tensor, self.trainable);
            }
            self.paths.push(path);
        }
    }
    let mut set = Set { pattern: pattern.into(), trainable, paths: Vec::new() };
    visit(&mut set);
    Ok(set.pattern.select_from(&set.paths)?.len())
}
