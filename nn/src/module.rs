//! What a module is: something whose parameters, buffers and modes can be visited.

use std::fmt;
use std::marker::PhantomData;

use kiln_tensor::{AnyTensor, Device, Result};

use crate::store::{LoadReport, StateDict};

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

/// Looks at the tensors of a module, in the order of declaration.
pub trait Visitor {
    /// A parameter or a buffer, unless the method for its kind is written.
    fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        let _ = (path, tensor);
    }
    /// A parameter, which is trained.
    fn param(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.tensor(path, tensor);
    }
    /// A buffer, which is saved but not trained.
    fn buffer(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
        self.tensor(path, tensor);
    }
}

/// Changes the tensors of a module, in the order of declaration. A tensor that is replaced must
/// keep its rank and kind.
pub trait VisitorMut {
    /// A parameter or a buffer, unless the method for its kind is written.
    fn tensor(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        let _ = (path, tensor);
    }
    /// A parameter, which is trained.
    fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        self.tensor(path, tensor);
    }
    /// A buffer, which is saved but not trained.
    fn buffer(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
        self.tensor(path, tensor);
    }
    /// Whether a layer behaves as in training.
    fn mode(&mut self, training: &mut bool) {
        let _ = training;
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

    /// The number of trained numbers.
    fn num_params(&self) -> usize {
        struct Count(usize);
        impl Visitor for Count {
            fn param(&mut self, _: &Path<'_>, tensor: &AnyTensor) {
                self.0 += tensor.num_elements();
            }
        }
        let mut count = Count(0);
        self.visit(&Path::ROOT, &mut count);
        count.0
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
                *tensor = if self.0 { kiln_autograd::leaf(tensor) } else { tensor.detach() };
            }
        }
        self.visit_mut(&Path::ROOT, &mut Set(trainable));
    }

    /// Moves every parameter and buffer to `device`.
    fn to_device(&mut self, device: &Device) -> Result<()> {
        struct Move(Device, Result<()>);
        impl VisitorMut for Move {
            fn tensor(&mut self, _: &Path<'_>, tensor: &mut AnyTensor) {
                let tracked = tensor.tracked().is_some();
                match tensor.to_device(&self.0) {
                    Ok(moved) if tracked => *tensor = kiln_autograd::leaf(&moved),
                    Ok(moved) => *tensor = moved,
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
        state.load_into(|visitor| self.visit_mut(&Path::ROOT, visitor))
    }

    /// Writes every parameter and buffer to a safetensors file, which PyTorch can load. The file
    /// appears whole or not at all.
    fn save_file(&self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.state_dict().save(path)
    }

    /// Takes every parameter and buffer from a safetensors file. An error, and an unchanged model,
    /// if anything is missing, unexpected or of another shape.
    fn load_file(&mut self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        let path = path.as_ref();
        let state = StateDict::load(path)?;
        state.check_fit(|visitor| self.visit(&Path::ROOT, visitor)).strict(path)?;
        self.load_state_dict(&state);
        Ok(())
    }

    /// Takes what fits from a safetensors file and reports the rest.
    fn load_file_partial(&mut self, path: impl AsRef<std::path::Path>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        Ok(self.load_state_dict(&StateDict::load(path.as_ref())?))
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

macro_rules! no_tensors {
    ($($type:ty)*) => {$(
        impl Module for $type {
            fn visit(&self, _: &Path<'_>, _: &mut dyn Visitor) {}
            fn visit_mut(&mut self, _: &Path<'_>, _: &mut dyn VisitorMut) {}
        }
    )*};
}
no_tensors!(f64 f32 i64 i32 u64 u32 u8 usize bool String);

impl<T> Module for PhantomData<T> {
    fn visit(&self, _: &Path<'_>, _: &mut dyn Visitor) {}
    fn visit_mut(&mut self, _: &Path<'_>, _: &mut dyn VisitorMut) {}
}

/// A value that is there or not, under one name.
impl<M: Module> Module for Option<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().for_each(|module| module.visit(path, visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut().for_each(|module| module.visit_mut(path, visitor));
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        (**self).visit(path, visitor);
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        (**self).visit_mut(path, visitor);
    }
}

/// Modules under their index, as in `torch.nn.ModuleList`.
impl<M: Module> Module for Vec<M> {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().enumerate().for_each(|(i, module)| module.visit(&path.index(i), visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut()
            .enumerate()
            .for_each(|(i, module)| module.visit_mut(&path.index(i), visitor));
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        self.iter().enumerate().for_each(|(i, module)| module.visit(&path.index(i), visitor));
    }
    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.iter_mut()
            .enumerate()
            .for_each(|(i, module)| module.visit_mut(&path.index(i), visitor));
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Module),*> Module for ($($name,)*) {
            fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
                $(self.$index.visit(&path.index($index), visitor);)*
            }
            fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
                $(self.$index.visit_mut(&path.index($index), visitor);)*
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
