"""Worker processes: the share of the machine that each has."""

from harness.workers import processes


def test_cores_are_split() -> None:
    assert processes.share(1, 3, 8, [], {})["TF_NUM_INTRAOP_THREADS"] == "2"
    assert processes.share(0, 4, 2, [], {})["OMP_NUM_THREADS"] == "1"


def test_gpus_are_assigned_in_turn_and_their_memory_split() -> None:
    shares = [processes.share(index, 3, 8, ["0", "GPU-7"], {}) for index in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0", "GPU-7", "0"]
    assert {share["XLA_PYTHON_CLIENT_MEM_FRACTION"] for share in shares} == {"0.450"}


def test_settings_of_the_user_are_kept() -> None:
    given = {"OMP_NUM_THREADS": "5", "CUDA_VISIBLE_DEVICES": "0,1"}
    share = processes.share(1, 2, 8, ["0", "1"], given)
    assert "OMP_NUM_THREADS" not in share and share["CUDA_VISIBLE_DEVICES"] == "1"
