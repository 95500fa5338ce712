"""What may stand in a pickle from elsewhere, looked at before anything is built from it."""

import pickle
import pickletools

_REFUSED = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER")
"""Ways to make objects beside `find_class` and REDUCE, which arrays have no use for."""


def check_pickle(content: bytes) -> None:
    """Refuses a pickle that asks for memory out of proportion to its length, or for objects that arrays are not made of.

    Lengths that are declared are compared with what is there, and places in the memo, which the unpickler makes room for
    up to the highest, with the length: 6 bytes could ask for 32 GiB. Errors: pickle.UnpicklingError.
    """
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name in _REFUSED:
                raise pickle.UnpicklingError(f"it uses {operation.name}, which arrays have no use for")
            if operation.name.endswith("PUT") and int(argument or 0) > len(content):
                raise pickle.UnpicklingError("it asks for more memory than its length explains")
    except (ValueError, EOFError, IndexError) as error:  # what pickletools raises for damage
        raise pickle.UnpicklingError(f"it is no pickle, or damaged: {error}") from None
