"""Files laid out as larcv 3.5.1 lays them out, written with h5py."""

import h5py
import numpy as np

EXTENTS = [("first", "<u8"), ("N", "<u4")]
ID_EXTENTS = [("first", "<u8"), ("N", "<u4"), ("ID", "<u4")]
META = [
    ("valid", "u1"),
    ("projection_id", "<u8"),
    ("image_sizes", "<f8", (2,)),
    ("number_of_voxels", "<u8", (2,)),
    ("origin", "<f8", (2,)),
]
VOXEL = [("id", "<u8"), ("value", "<f4")]


def write_larcv3(path, product, events, *, producer="wire", mode="a", change=None):
    """Write a group of ``product`` that holds ``events[event][projection]``, each ``[H, W]``.

    For cluster2d a projection is a list of clusters, each ``[H, W]``. ``change`` takes and changes
    the tables before they are written.
    """
    extents, projections, metas, clusters, values = [], [], [], [], []
    length = 0
    for event in events:
        extents.append((len(projections), len(event)))
        for number, projection in enumerate(event):
            parts = projection if product == "cluster2d" else [projection]
            begin = len(clusters) if product == "cluster2d" else length
            for cluster, part in enumerate(parts):
                stored = _stored(product, np.asarray(part))
                clusters.append((length, len(stored), cluster))
                values.append(stored)
                length += len(stored)
            count = len(parts) if product == "cluster2d" else length - begin
            projections.append((begin, count, number))
            size = np.shape(parts[0])
            metas.append((all(size), number, size, size, (0, 0)))
    inner = {"sparse2d": "voxel", "cluster2d": "projection"}.get(product, "image")
    tables = {
        "extents": np.array(extents, EXTENTS),
        f"{inner}_extents": np.array(projections, ID_EXTENTS),
        "image_meta": np.array(metas, META),
        "voxels" if product in ("sparse2d", "cluster2d") else "images": np.concatenate(values),
    }
    if product == "cluster2d":
        tables["cluster_extents"] = np.array(clusters, ID_EXTENTS)
    if change:
        change(tables)
    with h5py.File(path, mode) as file:
        for name, table in tables.items():
            place = f"Data/{product}_{producer}_group/{name}"
            file.create_dataset(place, data=table, maxshape=(None,), chunks=(10,), compression=1)
    return path


def _stored(product, image):
    if product in ("image2d", "tensor2d"):
        return image.astype(np.float32).ravel()
    lit = np.flatnonzero(image)
    voxels = np.empty(len(lit), VOXEL)
    voxels["id"], voxels["value"] = lit, image.ravel()[lit]
    return voxels
