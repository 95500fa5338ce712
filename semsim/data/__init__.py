"""Real data: image sets by name or folder, the embedded default, and the cache of downloaded sets."""

from semsim.data.cifar import CLASSES as CLASSES
from semsim.data.fetch import Fetched as Fetched
from semsim.data.fetch import SetInfo as SetInfo
from semsim.data.fetch import cache_folder as cache_folder
from semsim.data.fetch import get as get
from semsim.data.fetch import list_sets as list_sets
from semsim.data.images import NAMES as NAMES
from semsim.data.images import ImageSet as ImageSet
from semsim.data.images import as_float as as_float
from semsim.data.images import from_array as from_array
from semsim.data.images import image_set as image_set
from semsim.data.images import load as load
from semsim.data.training import CIFAR_VALIDATION as CIFAR_VALIDATION
from semsim.data.training import training_images as training_images
from semsim.data.training import training_labels as training_labels
from semsim.data.training import validation_images as validation_images
