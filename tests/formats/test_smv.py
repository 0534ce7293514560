"""SMV files: the reference's header, pixels both ways, and where fabio finds them."""

import contextlib
import json

import fabio
import numpy as np
import pytest
from format_cases import DETECTORS, POINTS, SIX_DIGITS_MM, case, positions

import nanobrag_jax as nb
from nanobrag_jax.errors import InputError
from nanobrag_jax.formats.smv import format_header, g, header_value, read_smv, smv_header_items, write_smv

# What the command line "-xds -phi 3 -osc 1.5 -phisteps 3" with 120 x 96 pixels of 0.4 mm at 60 mm gives.
XDS_PHI = {
    "fast_pixels": 120,
    "slow_pixels": 96,
    "pixel_mm": 0.4,
    "distance_mm": 60.0,
    "close_distance_mm": 60.0,
    "wavelength_A": 1.2,
    "beam_x_mm": 24.0,
    "beam_y_mm": 19.2,
    "fast_beam_mm": 24.0,
    "slow_beam_mm": 19.2,
    "slow_size_mm": 38.4,
    "dials_origin_mm": (60.0, -19.2, 24.0),
    "org_x_pixels": 60.5,
    "org_y_pixels": 48.5,
    "phi_deg": 3.0,
    "osc_deg": 1.5,
    "twotheta_deg": 0.0,
}
XDS_PHI_TEXT = (
    "{\nHEADER_BYTES=512;\nDIM=2;\nBYTE_ORDER=little_endian;\nTYPE=unsigned_short;\nSIZE1=120;\nSIZE2=96;\n"
    "PIXEL_SIZE=0.4;\nDISTANCE=60;\nWAVELENGTH=1.2;\nBEAM_CENTER_X=24;\nBEAM_CENTER_Y=19.2;\nADXV_CENTER_X=24;\n"
    "ADXV_CENTER_Y=19.2;\nMOSFLM_CENTER_X=19;\nMOSFLM_CENTER_Y=23.8;\nDENZO_X_BEAM=19.2;\nDENZO_Y_BEAM=24;\n"
    "DIALS_ORIGIN=60,-19.2,24\nXDS_ORGX=60.5;\nXDS_ORGY=48.5;\nCLOSE_DISTANCE=60;\nPHI=3;\nOSC_START=3;\n"
    "OSC_RANGE=1.5;\nTWOTHETA=0;\nDETECTOR_SN=000;\nBEAMLINE=fake;\n}\f"
)


def small_items(slow, fast, byte_order="little_endian"):
    return [("DIM", 2), ("BYTE_ORDER", byte_order), ("TYPE", "unsigned_short"), ("SIZE1", fast), ("SIZE2", slow)]


def test_header_bytes_of_a_run():
    assert format_header(smv_header_items(**XDS_PHI)) == XDS_PHI_TEXT.encode().ljust(512)


def test_every_number_has_its_place():
    numbers = {
        name: value if name.endswith("pixels") and "org" not in name else np.add(value, 0.001 * place)
        for place, (name, value) in enumerate(XDS_PHI.items(), 1)
    }
    items = dict(smv_header_items(**numbers))
    assert items["SIZE1"] == 120 and items["SIZE2"] == 96
    direct = {
        "PIXEL_SIZE": "pixel_mm",
        "DISTANCE": "distance_mm",
        "CLOSE_DISTANCE": "close_distance_mm",
        "WAVELENGTH": "wavelength_A",
        "BEAM_CENTER_X": "beam_x_mm",
        "BEAM_CENTER_Y": "beam_y_mm",
        "ADXV_CENTER_X": "fast_beam_mm",
        "DENZO_X_BEAM": "slow_beam_mm",
        "DENZO_Y_BEAM": "fast_beam_mm",
        "DIALS_ORIGIN": "dials_origin_mm",
        "XDS_ORGX": "org_x_pixels",
        "XDS_ORGY": "org_y_pixels",
        "PHI": "phi_deg",
        "OSC_START": "phi_deg",
        "OSC_RANGE": "osc_deg",
        "TWOTHETA": "twotheta_deg",
    }
    for key, name in direct.items():
        np.testing.assert_array_equal(items[key], numbers[name], key)
    assert items["ADXV_CENTER_Y"] == numbers["slow_size_mm"] - numbers["slow_beam_mm"]
    assert items["MOSFLM_CENTER_X"] == numbers["slow_beam_mm"] - numbers["pixel_mm"] / 2
    assert items["MOSFLM_CENTER_Y"] == numbers["fast_beam_mm"] - numbers["pixel_mm"] / 2


def golden_headers(golden):
    for record in json.loads((golden / "cases.json").read_text()):
        if "header" in record:
            yield record["name"], record["header"]
    for run in json.loads((golden / "pilatus" / "pilatus.json").read_text())["runs"]:
        yield "pilatus " + run["mode"], run["header"]


def numbers_of(lines, slow_size_mm=None):
    text = "\n".join(line + "\n" for line in lines)

    def value(key):
        return header_value(text, "\n" + key)

    pixel, slow = value("PIXEL_SIZE"), int(value("SIZE2"))
    origin = next(line for line in lines if line.startswith("DIALS_ORIGIN="))[len("DIALS_ORIGIN=") :]
    return {
        "fast_pixels": int(value("SIZE1")),
        "slow_pixels": slow,
        "pixel_mm": pixel,
        "distance_mm": value("DISTANCE"),
        "close_distance_mm": value("CLOSE_DISTANCE"),
        "wavelength_A": value("WAVELENGTH"),
        "beam_x_mm": value("BEAM_CENTER_X"),
        "beam_y_mm": value("BEAM_CENTER_Y"),
        "fast_beam_mm": value("ADXV_CENTER_X"),
        "slow_beam_mm": value("DENZO_X_BEAM"),
        "slow_size_mm": slow_size_mm or slow * pixel,
        "dials_origin_mm": [float(word) for word in origin.split(",")],
        "org_x_pixels": value("XDS_ORGX"),
        "org_y_pixels": value("XDS_ORGY"),
        "phi_deg": value("PHI"),
        "osc_deg": value("OSC_RANGE"),
        "twotheta_deg": value("TWOTHETA"),
    }


def test_golden_headers(golden):
    # The numbers come from the header itself, rounded to six digits: this checks keys, order and format. The one
    # value that is a difference of two large ones may come out a few units of the last digit off.
    difference = "ADXV_CENTER_Y"
    checked = 0
    for name, lines in golden_headers(golden):
        size = 28.0 if name == "detsize_not_pixels" else None
        ours = format_header(smv_header_items(**numbers_of(lines, size)))
        assert len(ours) % 512 == 0 and ours.startswith(b"{\n")
        body = ours.rstrip(b" ")
        assert body.endswith(b"\n}\f")
        written = body[2:-3].decode().split("\n")
        assert written[0] == f"HEADER_BYTES={len(ours)};"
        if len(ours) == 512:
            assert lines[0] == written[0]
        assert len(written) == len(lines), name
        for our_line, line in zip(written[1:-1], lines[1:-1], strict=True):
            key = line.partition("=")[0]
            if key == difference and our_line != line:
                assert our_line.startswith(key + "="), name
                assert float(our_line[len(key) + 1 : -1]) == pytest.approx(float(line[len(key) + 1 : -1]), abs=5e-5)
            else:
                assert our_line == line, name
        assert written[-1] == "BEAMLINE=fake;" and written[-1].startswith(lines[-1]), name
        checked += 1
    assert checked > 150


def test_a_long_header_says_so():
    items = [*smv_header_items(**XDS_PHI), ("COMMENT", "x" * 80)]
    header = format_header(items)
    assert len(header) == 1024 and header.startswith(b"{\nHEADER_BYTES=1024;\n")
    assert header.rstrip(b" ").endswith(b"x;\n}\f")


def test_a_header_of_exactly_512_bytes_fits():
    items = [("COMMENT", "x")]
    room = 512 - len(format_header(items).rstrip(b" "))
    full = [("COMMENT", "x" * (1 + room))]
    assert len(format_header(full)) == 512 and format_header(full).endswith(b"}\f")
    assert len(format_header([("COMMENT", "x" * (2 + room))])) == 1024


def test_header_bytes_is_not_to_be_given():
    with pytest.raises(ValueError, match="HEADER_BYTES"):
        format_header([("HEADER_BYTES", 512)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1e-12, "1e-12"), (231.27466, "231.275"), (60.0, "60"), (1234567.0, "1.23457e+06"), (-0.0, "-0")],
)
def test_g(value, text):
    assert g(value) == text


@pytest.mark.parametrize("byte_order", ["little_endian", "big_endian"])
def test_round_trip(tmp_path, byte_order):
    image = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    write_smv(tmp_path / "i.img", image, small_items(3, 4, byte_order))
    header, read = read_smv(tmp_path / "i.img")
    assert read.dtype == np.uint16 and read.dtype.isnative
    np.testing.assert_array_equal(read, image)
    assert len(header) == 512 and header_value(header, "SIZE2") == 3
    code = "<u2" if byte_order == "little_endian" else ">u2"
    assert (tmp_path / "i.img").read_bytes()[512:] == image.astype(code).tobytes()


def test_other_readers_open_it(tmp_path):
    image = np.random.default_rng(1).integers(0, 65536, (96, 120)).astype(np.uint16)
    write_smv(tmp_path / "i.img", image, smv_header_items(**XDS_PHI))
    with fabio.open(str(tmp_path / "i.img")) as opened:
        np.testing.assert_array_equal(opened.data, image)
        assert opened.header["BEAMLINE"] == "fake"


def test_write_refuses_what_does_not_match(tmp_path):
    with pytest.raises(ValueError, match="image is float64"):
        write_smv(tmp_path / "i.img", np.zeros((3, 4)), small_items(3, 4))
    with pytest.raises(ValueError, match=r"\(4, 3\), but the header says uint16 \(3, 4\)"):
        write_smv(tmp_path / "i.img", np.zeros((4, 3), np.uint16), small_items(3, 4))
    with pytest.raises(ValueError, match="BYTE_ORDER"):
        write_smv(tmp_path / "i.img", np.zeros((3, 4), np.uint16), small_items(3, 4, "middle"))


def test_golden_inputs(golden):
    header, mask = read_smv(golden / "inputs" / "mask.img")
    assert mask.shape == (90, 110) and 0 < np.count_nonzero(mask) < mask.size
    assert header_value(header, "BEAM_CENTER_X") == 20.5 and header_value(header, "PHI") == 12


@pytest.mark.parametrize(
    ("header", "key", "value"),
    [
        ("PHI=1;\nPHI=2;\n", "PHI", 2),
        ("DISTANCE=60;\nCLOSE_DISTANCE=59;\n", "DISTANCE", 59),
        ("CLOSE_DISTANCE=59;\nDISTANCE=60;\n", "DISTANCE", 60),
        ("XDS_ORGX=61.5;\n", "ORGX", 61.5),
        ("PHI=1;\nPHI_START=7;\n", "PHI", 7),
        ("PHI=1;\nCOMMENT=PHI;\n", "PHI", 1),
        ("PHI = -1.5e1 deg;\n", "PHI", -15),
        ("ORIGIN=-24.4,19.6,-60\n", "ORIGIN", -24.4),
        ("PHI=abc;\n", "PHI", 0),
        ("PHI=.5;\n", "PHI", 0.5),
        ("PHI=3", "PHI", 3),
        ("PHI=1;\n", "phi", None),
        ("", "PHI", None),
    ],
)
def test_header_value(header, key, value):
    assert header_value(header, key) == value


def smv_bytes(lines="SIZE1=4;\nSIZE2=3;\n", header_bytes="512", pixels=24):
    return f"{{\nHEADER_BYTES={header_bytes};\n{lines}}}\f".encode().ljust(512) + bytes(pixels)


def test_what_may_be_missing(tmp_path):
    (tmp_path / "i.img").write_bytes(smv_bytes(pixels=30))
    assert read_smv(tmp_path / "i.img").image.shape == (3, 4)


BAD_SMV = {
    "empty": (b"", "not an SMV file"),
    "other format": (b"###CBF: VERSION 1.1\n", "not an SMV file: it starts with '###CBF:'"),
    "no HEADER_BYTES": (b"{\nSIZE1=4;\n}\f", "no HEADER_BYTES"),
    "negative HEADER_BYTES": (smv_bytes(header_bytes="-512"), "HEADER_BYTES=-512, which cannot be"),
    "tiny HEADER_BYTES": (smv_bytes(header_bytes="3"), "HEADER_BYTES=3, which cannot be"),
    "huge HEADER_BYTES": (smv_bytes(header_bytes="4096"), "HEADER_BYTES=4096 but is only 536 bytes"),
    "wordy HEADER_BYTES": (smv_bytes(header_bytes="many"), "HEADER_BYTES=many"),
    "no SIZE1": (smv_bytes("SIZE2=3;\n"), "has no SIZE1"),
    "no SIZE2": (smv_bytes("SIZE1=3;\n"), "has no SIZE2"),
    "zero SIZE1": (smv_bytes("SIZE1=0;\nSIZE2=3;\n"), "SIZE1=0 .* positive whole number"),
    "half SIZE2": (smv_bytes("SIZE1=4;\nSIZE2=2.5;\n"), "SIZE2=2.5 "),
    "nan SIZE2": (smv_bytes("SIZE1=4;\nSIZE2=nan;\n"), "SIZE2=nan "),
    "infinite SIZE2": (smv_bytes("SIZE1=4;\nSIZE2=inf;\n"), "SIZE2=inf "),
    "truncated": (smv_bytes(pixels=23), r"ends after 11 of 4 x 3 \(SIZE1 x SIZE2\) pixels"),
    "enormous": (smv_bytes("SIZE1=2000000000;\nSIZE2=2000000000;\n"), "ends after 12 of"),
    "float": (smv_bytes("SIZE1=4;\nSIZE2=3;\nTYPE=float;\n"), "TYPE=float; only unsigned_short"),
    "byte order": (smv_bytes("SIZE1=4;\nSIZE2=3;\nBYTE_ORDER=odd;\n"), "BYTE_ORDER=odd; little_endian and"),
}


@pytest.mark.parametrize("name", BAD_SMV)
def test_bad_smv(tmp_path, name):
    content, message = BAD_SMV[name]
    (tmp_path / "i.img").write_bytes(content)
    with pytest.raises(InputError, match=f"SMV image '.*i.img' .*{message}"):
        read_smv(tmp_path / "i.img")


def test_smv_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read SMV image '.*none.img': No such file"):
        read_smv(tmp_path / "none.img")
    with pytest.raises(InputError, match="cannot read SMV image '.*': Is a directory"):
        read_smv(tmp_path)


@pytest.mark.parametrize(
    "name, turn", [("off centre", 0.0), ("two theta", 23.0), ("two theta about the sample", -40.0)]
)
def test_geometry_in_smv(name, turn, tmp_path):
    """From the point nearest to the sample, its distance and the swing about the axis of the convention."""
    experiment, turn = case(name), DETECTORS[name].get("twotheta_deg", 0.0)
    with pytest.warns(UserWarning, match="reference_geometry=FILE") if turn else contextlib.nullcontext():
        nb.write_image(tmp_path / "x.img", np.zeros((10, 12)), experiment)
    header = {key: float(value) for key, value in fabio.open(tmp_path / "x.img").header.items() if is_number(value)}
    assert header["TWOTHETA"] == turn and header["WAVELENGTH"] == 1.2 and header["OSC_RANGE"] == 0.5
    pixel = header["PIXEL_SIZE"]
    fast, slow = ((POINTS[:, i] - (header[f"XDS_ORG{key}"] - 0.5)) * pixel for i, key in ((0, "X"), (1, "Y")))
    flat = np.column_stack([np.full(len(fast), header["CLOSE_DISTANCE"]), -slow, fast])
    angle = np.radians(-turn)  # about -z
    swing = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    ours = positions(experiment)
    np.testing.assert_allclose(flat @ swing.T, ours[0], atol=SIX_DIGITS_MM)


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
