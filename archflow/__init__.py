"""archflow: rank a whole search space of neural architectures from a few dozen training runs.

The names of :mod:`archflow.face` are found here, and imported when the first of them is used.
"""

TYPE_CHECKING = False  # that of typing, which takes longer to import than all that stands here
if TYPE_CHECKING:
    from archflow.face import *  # noqa: F403

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a checker that saw this would take every misspelt name for a known one

    def __getattr__(name):
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module 'archflow' has no attribute '{name}'")
        import archflow.face

        if name not in globals():  # as a room is, once it is imported
            if not hasattr(archflow.face, name):
                raise AttributeError(f"module 'archflow' has no attribute '{name}'")
            globals()[name] = getattr(archflow.face, name)
        return globals()[name]

    def __dir__():
        import archflow.face

        return sorted({*globals(), *archflow.face.__all__})
