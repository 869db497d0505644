"""What is kept of a log is never taken for what is of another."""

from service.adapters.log_folders import keep_to


def test_what_is_of_another_log_is_set_aside_and_what_says_nothing_is_of_this_one(tmp_path):
    folder = tmp_path / "3"
    folder.mkdir()
    (folder / "segment").write_text("what was there before logs had names")
    assert keep_to(folder, "one") == folder
    assert keep_to(folder, "one") == folder
    assert (folder / "segment").exists()
    keep_to(folder, "two")
    assert sorted(path.name for path in folder.iterdir()) == ["log"]
    assert (tmp_path / "3.of-one" / "segment").exists()
