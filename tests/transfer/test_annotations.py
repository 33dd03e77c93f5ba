"""Annotations in COCO's and Pascal VOC's layouts: read from a folder alone, and broken ones named in one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from grey import save_grey
from PIL import Image

import repre_lite as rl
from repre_lite.transfer.annotations import load_objects
from repre_lite.transfer.detection import Detection
from repre_lite.transfer.mask_codes import encode_mask, run_lengths
from repre_lite.transfer.mean_precision import average_precision
from repre_lite.transfer.objects import Objects, ObjectSet, ObjectSource, scene_objects

CODE = {"size": [30, 40], "counts": [150, 10, 1040]}  # ten pixels of column 5, in COCO's order


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / "coco"
    for part, count in (("train", 3), ("val", 2)):
        images = [{"id": i, "file_name": f"{i}.jpg", "height": 30, "width": 40} for i in range(count)]
        for image in images:
            save_grey(root / part / image["file_name"])
        annotations = [
            {"id": 10 + i, "image_id": i, "category_id": 7 - i % 2, "bbox": [5, 6, 10, 8], "iscrowd": 0,
             "segmentation": [[5, 6, 15, 6, 15, 14, 5, 14]]} for i in range(2)
        ]  # fmt: skip
        (root / "annotations").mkdir(exist_ok=True)
        categories = [{"id": 7, "name": "dog"}, {"id": 6, "name": "cat"}]
        values = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(values))
    return root


def change(root, part="train", **values):
    """Change the first annotation."""
    path = root / "annotations" / f"instances_{part}.json"
    held = json.loads(path.read_text())
    held["annotations"][0] |= values
    path.write_text(json.dumps(held))


def load(root, **options):
    return load_objects(root, **({"train_images": None, "seed": 0, "skip_broken": False} | options))


def test_coco(coco, capsys):
    source = load(coco)
    assert source.train.classes == ("cat", "dog") and source.train.names == ("0.jpg", "1.jpg")
    assert "1 of 3 training images have no objects and are left out, such as 2.jpg" in capsys.readouterr().out
    assert [o.labels.tolist() for o in source.train.objects] == [[1], [0]]
    assert source.train.objects[0].boxes.tolist() == [[5, 6, 15, 14]]
    mask = source.train.objects[0].decoded()
    assert mask.shape == (1, 30, 40) and mask[0, 6:14, 5:15].all() and mask.sum() == 80
    assert source.train.image(1).shape == (3, 30, 40) and source.train.has_masks and len(source.val) == 2


def test_deep_images_are_scaled_by_the_rule_of_those_to_learn_from(coco):
    for part, top in (("train", 4095), ("val", 1000)):
        for i in range(2):
            Image.fromarray(np.full((30, 40), top // (i + 1), np.uint16)).save(coco / part / f"{i}.png")
        path = coco / "annotations" / f"instances_{part}.json"
        path.write_text(path.read_text().replace("0.jpg", "0.png").replace("1.jpg", "1.png"))
    source = load(coco)
    assert [int(source.train.image(i).max()) for i in range(2)] == [255, 127]
    assert [int(source.val.image(i).max()) for i in range(2)] == [62, 31]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"category_id": 9}, "0.jpg: annotation 10 of instances_train.json: class id 9 is none of cat, dog"),
        (
            {"bbox": [5, 6, 0, 8]},
            "0.jpg: annotation 10 of instances_train.json: the box (5.0, 6.0, 5.0, 14.0) has no area",
        ),
        ({"bbox": [50, 6, 9, 8]}, "has no area in the image of 40x30 pixels"),
        ({"bbox": [39.9999999, 6, 9, 8]}, "has no area in the image of 40x30 pixels"),  # none in single precision
        ({"bbox": [5, 6, 9, 1e-6]}, "has no area in the image of 40x30 pixels"),
        ({"segmentation": {"size": [30, 41], "counts": [1230]}}, "its mask is of 41x30 pixels, the image of 40x30"),
        ({"segmentation": [[1, 2, 3, 4]]}, "its mask has no polygon of three points"),
        ({"segmentation": [5, 6, 15, 6, 15, 14]}, "its mask is neither polygons"),
        ({"segmentation": [[5, 6, None, 6, 15, 14]]}, "its mask is neither polygons"),
        ({"segmentation": [[5, 6, 1e9, 6, 15, 14]]}, "its mask is neither polygons"),
        ({"segmentation": {"size": [30, 40]}}, "its mask is neither polygons"),
        ({"segmentation": {"size": [30, 40], "counts": "hello"}}, "its mask is neither polygons"),
        (
            {"segmentation": {"size": [30, 40], "counts": [150, 10]}},
            "its run-length code is of 160 pixels, the image of 1200",
        ),
        ({"bbox": None}, "0.jpg: annotation 10 of instances_train.json: no box of four numbers"),
        ({"bbox": [1, 2, "wide", 3]}, "no box of four numbers"),
        ({"bbox": [1, 2, 3]}, "no box of four numbers"),
        ({"image_id": 99}, "annotation 10 of instances_train.json: there is no image 99"),
    ],
)
def test_broken_annotations_are_named_or_left_out(coco, values, says, capsys):
    change(coco, **values)
    with pytest.raises(rl.UserError) as told:
        load(coco)
    assert says in str(told.value) and "\n" not in str(told.value)
    if "image_id" not in values:
        assert load(coco, skip_broken=True).train.names == ("1.jpg",)
        assert "1 broken annotations left out; the first: 0.jpg: annotation 10" in capsys.readouterr().out


def rewrite(root, part, edit):
    path = root / "annotations" / f"instances_{part}.json"
    held = json.loads(path.read_text())
    edit(held)
    path.write_text(json.dumps(held), encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("part", "edit", "says"),
    [
        ("train", lambda v: v["images"][0].pop("file_name"), "entry 1 of images lacks id or file_name"),
        ("val", lambda v: v["images"].append("1.jpg"), "entry 3 of images lacks id or file_name"),
        ("train", lambda v: v["categories"][1].pop("name"), "entry 2 of categories lacks id or name"),
        (
            "train",
            lambda v: v["categories"].append({"id": 7, "name": "wolf"}),
            "two entries of categories have the id 7",
        ),
        ("val", lambda v: v["images"][0].update(id=1), "two entries of images have the id 1"),
        ("train", lambda v: v["annotations"].append([1]), "annotation 3 of instances_train.json: not in COCO's format"),
        (
            "train",
            lambda v: v["annotations"][0].update(image_id=[0]),
            "annotation 1 of instances_train.json: not in COCO",
        ),
        ("val", lambda v: v["annotations"].clear(), "no validation image has an object"),
        ("val", lambda v: (v["annotations"].clear(), v["images"].clear()), "no validation image has an object"),
        ("val", lambda v: [a.update(iscrowd=1) for a in v["annotations"]], "no validation image has an object"),
    ],
)
def test_broken_files_are_named(coco, part, edit, says):
    rewrite(coco, part, edit)
    with pytest.raises(rl.UserError) as told:
        load(coco)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_odd_files_are_read(coco, capsys):
    """Two categories of one name, sizes as text, ids as text, a mark at the beginning of the file, an object without mask."""

    def edit(held):
        held["categories"].append({"id": 0, "name": "cat", "supercategory": "none"})
        held["images"][0] |= {"id": "first", "width": "40", "height": "30"}
        held["annotations"][0] |= {"image_id": "first", "segmentation": []}

    rewrite(coco, "train", edit)
    source = load(coco)
    assert source.train.classes == ("cat", "dog") and [o.labels.tolist() for o in source.train.objects] == [[1], [0]]
    assert not source.train.has_masks and source.val.has_masks
    assert (
        "images that have objects without a mask: 1, such as 0.jpg; only boxes are learned" in capsys.readouterr().out
    )


def test_unreadable_images_are_named_with_a_remedy_that_is_there(coco, capsys):
    path = coco / "train" / "0.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])  # its header is right
    with pytest.raises(
        rl.UserError, match=r"0\.jpg: not a readable image.*; repair it, or remove it and its annotations$"
    ):
        load(coco).train.image(0)
    path.write_bytes(b"no image")
    with pytest.raises(rl.UserError, match=r"0\.jpg: not a readable image.*; correct it, or .*skip_broken=True$"):
        load(coco)
    assert load(coco, skip_broken=True).train.names == ("1.jpg",)


def test_images_to_measure_on_are_decoded_before_the_work(coco):
    path = coco / "val" / "0.jpg"
    path.write_bytes(path.read_bytes()[:-8])  # its header is right
    with pytest.raises(rl.UserError, match=r"0\.jpg: not a readable image.*; correct it, or .*skip_broken=True$"):
        load(coco)
    assert load(coco, skip_broken=True).val.names == ("1.jpg",)


def test_missing_and_changed_files_are_named(coco):
    (coco / "val" / "1.jpg").unlink()
    with pytest.raises(rl.UserError, match=r"1\.jpg: the annotations name this image, but there is no such file"):
        load(coco)
    save_grey(coco / "val" / "1.jpg", (50, 30))
    with pytest.raises(rl.UserError, match=r"1\.jpg: 50x30 pixels, but its annotations say 40x30"):
        load(coco)


def test_other_folders_and_files_are_refused(coco, tmp_path):
    with pytest.raises(rl.UserError, match="neither layout found; give a folder in COCO's layout"):
        load(tmp_path / "coco" / "train")
    with pytest.raises(rl.UserError, match="no such folder"):
        load(tmp_path / "nowhere")
    (coco / "annotations" / "instances_val.json").write_text("[]")
    with pytest.raises(rl.UserError, match="not COCO's format"):
        load(coco)


def test_run_lengths():
    for mask in (CODE, encode_mask(torch.from_numpy(np.arange(1200).reshape(40, 30).T // 10 == 15))):
        decoded = Objects(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1), (run_lengths(mask, (30, 40)),)).decoded()
        assert decoded.sum() == 10 and decoded[0, :10, 5].all()


def test_voc_from_its_folder_alone(voc):
    source = load(voc)
    assert source.train.classes == ("axe", "saw") and not source.train.has_masks
    assert source.val.names == ("photo4.png",) and len(source.train) == 5
    assert source.train.objects[1].boxes.tolist() == [[2, 4, 21, 25]] * 2
    assert source.train.objects[1].labels.tolist() == [1, 0] and source.train.objects[1].crowd.tolist() == [False, True]
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    (voc / "ImageSets" / "Main" / "train.txt").write_text("photo0\nphoto1\nphoto2\n")
    (voc / "ImageSets" / "Main" / "val.txt").write_text("photo5\n")
    source = load(voc)
    assert source.train.names == ("photo0.png", "photo1.png", "photo2.png") and source.val.names == ("photo5.png",)
    for name in ("Annotations/photo 1.xml", "JPEGImages/photo 1.png"):  # a name with a space, a second column, a mark
        shutil.copy(voc / name.replace("photo ", "photo"), voc / name)
    (voc / "ImageSets" / "Main" / "train.txt").write_text("photo 1\nphoto2  -1\nphoto2  1\n", encoding="utf-8-sig")
    path = voc / "Annotations" / "photo2.xml"
    path.write_text(path.read_text().replace("photo2.png", "photo3.png").replace("<width>41", "<width>wide"))
    assert load(voc).train.names == ("photo 1.png", "photo2.png")
    inside = voc.parent / "kit" / "VOCdevkit"
    inside.mkdir(parents=True)
    shutil.move(voc, inside / "VOC2007")
    assert load(voc.parent / "kit").val.names == ("photo5.png",)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "<xmax>20</xmax>",
            "<xmax>2</xmax>",
            "photo0.png: object 1 of photo0.xml: the box (2.0, 4.0, 2.0, 25.0) has no area",
        ),
        ("<xmax>20</xmax>", "", "photo0.png: object 1 of photo0.xml: no box of four numbers"),
        ("<xmax>20</xmax>", "<xmax>far</xmax>", "photo0.png: object 1 of photo0.xml: no box of four numbers"),
        ("<xmax>20</xmax>", "<xmax>nan</xmax>", "object 1 of photo0.xml: the box (2.0, 4.0, nan, 25.0) has no area"),
        ("<name>saw</name>", "", "photo0.png: object 1 of photo0.xml: class without name is none of axe, saw"),
        ("<width>41</width>", "<width>29</width>", "photo0.png: 41x29 pixels, but its annotations say 29x29"),
        ("<filename>photo0.png", "<filename>gone.png", None),
        ("</annotation>", "", "photo0.xml: not readable as XML"),
        (
            "<annotation>",
            "<?xml version='1.0' encoding='gb2312'?><annotation>",
            "photo0.xml: not readable as XML (multi-",
        ),
        (
            "<annotation>",
            "<?xml version='1.0' encoding='none'?><annotation>",
            "photo0.xml: not readable as XML (unknown",
        ),
    ],
)
def test_broken_voc_annotations_are_named(voc, old, new, says):
    path = voc / "Annotations" / "photo0.xml"
    path.write_text(path.read_text().replace(old, new, 1))
    if says is None:  # the file of the annotation's own name is there
        assert "photo0.png" in load(voc).train.names
        (voc / "JPEGImages" / "photo0.png").unlink()
        says = "gone.png: the annotations name this image, but there is no such file"
    with pytest.raises(rl.UserError) as told:
        load(voc)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_hidden_annotations_are_ignored_as_hidden_images_are(voc, coco):
    """macOS leaves a file ._NAME beside each on foreign disks and in archives."""
    for path in (voc / "Annotations" / "photo0.xml", *(coco / "annotations").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert len(load(voc).train) == 5 and len(load(coco).train) == 2
    (coco / "annotations" / "instances_train.json").rename(coco / "annotations" / "train.json")
    assert len(load(coco).train) == 2


def test_a_class_of_val_alone_is_named(voc):
    path = voc / "Annotations" / "photo4.xml"
    path.write_text(path.read_text().replace("saw", "hammer"))
    with pytest.raises(rl.UserError, match=r"photo4\.png: object 1 of photo4\.xml: class hammer is none of axe, saw"):
        load(voc)


def test_no_object_at_all_is_refused(voc):
    for path in (voc / "Annotations").iterdir():
        path.write_text("<annotation><filename>x</filename></annotation>")
    with pytest.raises(rl.UserError, match="no training image has an object"):
        load(voc)


def test_precision_of_known_answers():
    images = scene_objects(32, 4).train
    right = [
        {"image_id": i, "category_id": int(o.labels[0]) + 1, "score": 0.9, "segmentation": o.masks[0],
         "bbox": [float(o.boxes[0, 0]), float(o.boxes[0, 1]), *(o.boxes[0, 2:] - o.boxes[0, :2]).tolist()]}
        for i, o in enumerate(images.objects)
    ]  # fmt: skip
    assert average_precision(images, right, True) == pytest.approx(
        dict.fromkeys(("box_map", "box_map50", "mask_map", "mask_map50"), 1)
    )
    assert average_precision(images, right[:2], True)["box_map"] == pytest.approx(0.5)  # four classes, an object each
    other = [answer | {"category_id": answer["category_id"] % 10 + 2} for answer in right]
    assert average_precision(images, other, False) == {"box_map": 0, "box_map50": 0}
    assert average_precision(images, [], True)["mask_map"] == 0
    x, y, width, height = right[0]["bbox"]
    shifted = [right[0] | {"bbox": [x + width / 5, y, width, height]}]  # IoU 2/3: right at 4 of the 10 thresholds
    assert average_precision(images.at([0]), shifted, False)["box_map"] == pytest.approx(0.4)


def test_images_without_objects_and_crowds_count_as_coco_says():
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    crowd = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]), torch.tensor([True]))
    one = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]), torch.tensor([False]))
    images = ObjectSet(
        ("a",), ("0", "1", "2"), ((20, 20),) * 3, (one, nothing, crowd), lambda i: torch.zeros(3, 20, 20)
    )
    answer = {"category_id": 1, "bbox": [0, 0, 10, 10]}
    good = [answer | {"image_id": 0, "score": 0.5}]
    assert average_precision(images, good, False)["box_map"] == pytest.approx(1)
    in_crowd = [*good, answer | {"image_id": 2, "score": 0.9}]
    assert average_precision(images, in_crowd, False)["box_map"] == pytest.approx(1)  # neither right nor wrong
    in_nothing = [*good, answer | {"image_id": 1, "score": 0.9}]
    assert average_precision(images, in_nothing, False)["box_map"] == pytest.approx(0.5)


def test_a_validation_image_without_objects_is_drawn(tmp_path):
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool), ())
    images = ObjectSet(("a",), ("0",), ((20, 20),), (nothing,), lambda i: torch.zeros(3, 20, 20, dtype=torch.uint8))
    task = Detection.__new__(Detection)
    task.source, task.masks, task.classes = ObjectSource(images, images), True, ("a",)
    found = {"boxes": torch.zeros(0, 4), "labels": nothing.labels, "masks": torch.zeros(0, 1, 20, 20)}
    task.detect = lambda image, device: found | {"scores": torch.zeros(0)}
    task.draw(torch.device("cpu"), tmp_path)
    assert (tmp_path / "predictions.png").read_bytes()[:4] == b"\x89PNG"
