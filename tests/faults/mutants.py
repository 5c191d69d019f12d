"""Mutants of the daemon's code: each takes away one thing that a promise rests on, and names the tests that notice."""

# ruff: noqa: E501  a table, one mutant a line

from __future__ import annotations

from dataclasses import dataclass

ORDER = "tests/faults/test_order.py::test_each_step_is_on_disk_before_the_next"
MOVE = "tests/quarantine/test_move.py::test_"
RESTORE = "tests/quarantine/test_restore.py::test_"
RECOVER = "tests/quarantine/test_recover.py::test_"
DIRECTORIES = "tests/quarantine/test_directories.py::test_"
READER = "tests/fs/test_files.py::test_"
RECOVERY = "tests/review/test_recovery.py::test_"
POLICY = "tests/judging/test_policy.py::test_"
PIPELINE = "tests/judging/test_pipeline.py::test_"
SCANNER = "tests/watching/test_scan.py::test_"
ROOTS = "tests/store/test_root_lookup.py::test_"
SETTLE = "tests/watching/test_settle.py::test_"
INDEX = "tests/search/test_exact.py::test_"
INDEX_CONTRACT = "tests/search/test_exact.py::TestExactIndex::test_"
DUPLOG = "tests/reporting/test_duplicates_log.py::test_"
STORE = "tests/store/test_sqlite.py::TestSqliteStore::test_"
REVIEW_RESTORE = "tests/review/test_restore.py::test_"
TASKS = "tests/workers/test_tasks.py::test_"
WATCHER = "tests/watching/test_events.py::test_"
INGEST = "tests/watching/test_ingest.py::test_"
MONITOR = "tests/watching/test_monitor.py::test_"

CUT_SHORT = f"{RECOVER}recovery_finishes_only_what_may_stand"
CHANGED = f"{MOVE}what_changed_since_it_was_judged_stays"
LAST_MOMENT = f"{MOVE}a_copy_that_is_written_or_linked_at_the_last_moment_goes_back_as_it_is"
TAKEN = f"{RESTORE}a_name_that_is_taken_at_the_last_moment_survives_a_restore"
LEASED = f"{MOVE}a_writer_that_comes_meanwhile_finds_the_file_at_its_place"
NOT_INTERPRETED = f"{RECOVER}recovery_leaves_alone_what_it_cannot_interpret"
SPARED = f"{POLICY}what_is_spared_is_flagged_with_the_reason"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old`, found exactly once in `file`, becomes `new`; then one of `tests`, by pytest's node ids, must fail."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]


def mutant(name: str, file: str, old: str, new: str, breaks: str, *tests: str) -> Mutant:
    return Mutant(name, f"{file}.py", old, new, breaks, tests)


LOST = "nothing is lost"
REPLACED = "no file of a user's is replaced or deleted"
JUDGED = "only the judged bytes are moved"
LIVING = "a moved file has a living original"
ACCUSED = "nobody is accused wrongly"
MISSED = "nothing is missed"
LOGGED = "each verdict has one line in the log"

MUTANTS = (
    # What is on disk, and when
    mutant("record not synced", "quarantine/records", ":]\n        os.fsync(fd)\n", ":]\n", LOST, ORDER),
    mutant("folder of the records not synced", "quarantine/records", "    os.fsync(info_fd)\n", "", LOST, ORDER),
    mutant("record written over the old one", "quarantine/records", 'f"{record.id}.tmp"', "_name(record.id)", LOST, ORDER),
    mutant("copy not synced", "quarantine/move", "        os.fsync(copy_fd)\n", "", LOST, ORDER),
    mutant("original not synced", "quarantine/move", "        os.fsync(original_fd)\n", "", LOST, ORDER),
    mutant("folder of the files not synced", "quarantine/move", "        os.fsync(dirs.files)\n", "", LOST, ORDER),
    mutant("user's folder not synced", "quarantine/move", "        os.fsync(folder_fd)\n", "", LOST, ORDER),
    mutant("no record before the move", "quarantine/records", "        write(self.info_fd, record)\n        return record\n\n    def advance", "        return record\n\n    def advance", LOST, ORDER),
    mutant("moved before its record is written", "quarantine/move", "            record = journal.advance(record, RecordState.QUARANTINED)\n        except", "            record = __import__('dataclasses').replace(record, state=RecordState.QUARANTINED)\n        except", LOST, f"{RESTORE}round_trip_keeps_everything", ORDER),
    mutant("restore: user's folder not synced", "quarantine/put_back", "            os.fsync(folder_fd)\n            os.fsync(dirs.files)\n", "            os.fsync(dirs.files)\n", LOST, ORDER),
    mutant("restore: folder of the files not synced", "quarantine/put_back", "            os.fsync(dirs.files)\n", "", LOST, ORDER),
    mutant("restore: folder made again not synced", "quarantine/put_back", "        os.fsync(above_fd)\n", "", LOST, ORDER),
    mutant("restore not announced", "quarantine/put_back", "            if announce:\n                announce(path)\n", "", LOST, ORDER),
    mutant("restore: somebody else's folder gets another mode", "quarantine/put_back", "        if not _is_just_created(folder_fd):", "        if False:", REPLACED, f"{RESTORE}a_folder_that_somebody_puts_in_the_place_of_one_made_again_keeps_its_mode"),
    mutant("unlinked before the link is synced", "fs/linux", "    os.fsync(to_fd)\n", "", LOST, ORDER),
    mutant("new private folders not synced", "quarantine/directories", "    else:\n        os.fsync(parent_fd)\n", "", LOST, ORDER),
    # How a file goes in and out
    mutant("link and unlink in place of a rename", "quarantine/directories", "            linux.rename_no_replace(folder_fd, name, self.files, record_id.encode())", "            linux.link_then_unlink(folder_fd, name, self.files, record_id.encode())", REPLACED, ORDER),
    mutant("a move that may replace", "quarantine/directories", "            linux.rename_no_replace(folder_fd, name, self.files, record_id.encode())", "            os.rename(name, record_id, src_dir_fd=folder_fd, dst_dir_fd=self.files)", REPLACED, ORDER),
    mutant("a restore that replaces", "quarantine/directories", "            linux.rename_no_replace(self.files, record_id.encode(), folder_fd, name)", "            os.rename(record_id, name, src_dir_fd=self.files, dst_dir_fd=folder_fd)", REPLACED, TAKEN),
    mutant("a restore that replaces, where rename can do no better", "quarantine/directories", "            linux.link_then_unlink(self.files, record_id.encode(), folder_fd, name)", "            os.rename(record_id, name, src_dir_fd=self.files, dst_dir_fd=folder_fd)", REPLACED, TAKEN),
    mutant("no-replace is not asked for", "fs/linux", "_RENAME_NOREPLACE = 1", "_RENAME_NOREPLACE = 0", REPLACED, TAKEN),
    mutant("a taken name counts as restored", "quarantine/put_back", "            except FileExistsError:\n                continue\n", "            except FileExistsError:\n                pass\n", LOST, TAKEN),
    mutant("a half-done link is not known again", "fs/linux", "    if not is_same_inode(to_fd, to_name, source):\n        os.link", "    if True:\n        os.link", LOST, CUT_SHORT),
    mutant("an id is used twice", "quarantine/move", "        _require_unused(dirs, order.id)\n", "", REPLACED, f"{MOVE}ids_are_used_once"),
    mutant("paths may leave the tree", "quarantine/quarantine", "        records.check_path(order.path)\n", "", "nobody is let in", f"{MOVE}paths_that_leave_the_tree_are_refused"),
    mutant("no lock", "quarantine/directories", "        _lock(lock_fd, root)\n", "", LOST, f"{DIRECTORIES}a_lock_that_is_held_too_long_is_told"),
    mutant("a lock that many may hold", "quarantine/directories", "fcntl.LOCK_EX", "fcntl.LOCK_SH", LOST, f"{DIRECTORIES}a_lock_that_is_held_too_long_is_told"),
    mutant("a move that failed is not undone", "quarantine/move", "            _undo(dirs, record, journal)\n            raise", "            raise", LOST, LAST_MOMENT),
    mutant("a quarantine that others may enter", "quarantine/directories", "    if status.st_mode & 0o077:\n        raise", "    if False:\n        raise", "nobody is let in", f"{DIRECTORIES}a_private_folder_that_others_may_enter_is_not_used"),
    mutant("a quarantine on another mount", "quarantine/directories", "    if linux.mount_id(fd) != mount:", "    if False:", LOST, f"{DIRECTORIES}a_quarantine_on_another_mount_is_refused"),
    # What is proven at the moment of a move
    mutant("bytes not checked before the move", "quarantine/move", "        copy.require_bytes()\n", "", JUDGED, f"{MOVE}only_the_judged_bytes_are_moved"),
    mutant("bytes not checked after the move", "quarantine/proof", "    copy.require_bytes()\n", "", JUDGED, LAST_MOMENT),
    mutant("name not checked before the move", "quarantine/move", "        if FileIdentity.of(os.stat(name, dir_fd=folder_fd, follow_symlinks=False)) != order.identity:", "        if False:", JUDGED, f"{MOVE}a_file_swapped_in_while_the_intent_is_written_stays"),
    mutant("name not checked after the move", "quarantine/proof", "    if not linux.is_same_inode(dirs.files, order.id.encode(), status) or", "    if", JUDGED, f"{MOVE}what_takes_the_name_at_the_last_moment_goes_back"),
    mutant("links not counted after the move", "quarantine/proof", " or status.st_nlink != 1:\n        raise", ":\n        raise", REPLACED, LAST_MOMENT),
    mutant("links not counted before the move", "quarantine/proof", "    if status.st_nlink > 1:", "    if False:", "a file with several links is left alone", CHANGED),
    mutant("mount not checked", "quarantine/proof", "    if linux.mount_id(fd) != linux.mount_id(dirs.files):", "    if False:", LOST, f"{MOVE}other_mounts_are_refused"),
    mutant("original's bytes not proven", "quarantine/proof", "    original.require_bytes()\n", "", LIVING, f"{MOVE}only_the_judged_bytes_are_moved"),
    mutant("original's name not proven", "quarantine/proof", "if not stat.S_ISREG(status.st_mode) or not linux.is_same_inode(folder_fd, name, status):", "if not stat.S_ISREG(status.st_mode):", LIVING, CHANGED),
    mutant("original not proven before the move", "quarantine/move", "            proof.require_original(order, original, copy_fd)\n            _rename_in", "            _rename_in", LIVING, CHANGED),
    mutant("original not proven after the move", "quarantine/move", "            proof.require_moved(dirs, order, copy)\n            proof.require_original(order, original, copy_fd)\n", "            proof.require_moved(dirs, order, copy)\n", LIVING, f"{MOVE}the_copy_goes_back_when_the_original_is_lost_meanwhile"),
    mutant("a file may be its own original", "quarantine/proof", "    if os.path.samestat(status, os.fstat(copy_fd)):", "    if False:", LIVING, f"{MOVE}a_file_is_not_its_own_original"),
    mutant("lease ignored", "fs/linux", "        return self.held and fcntl", "        return False and fcntl", JUDGED, LEASED),
    mutant("lease not taken", "fs/linux", "lease = Lease(fd, held=_take_lease(fd))", "lease = Lease(fd, held=False)", JUDGED, f"{MOVE}a_file_that_is_open_for_writing_stays"),
    # Recovery
    mutant("recovery finishes a move whose original changed", "quarantine/proof", "        return has_bytes(root_fd, record.original_path, record.original_sha256)", "        return True", LIVING, CUT_SHORT),
    mutant("recovery finishes a move of other bytes", "quarantine/proof", " or not has_bytes(dirs.files, record.id.encode(), record.sha256):", ":", JUDGED, CUT_SHORT),
    mutant("recovery finishes a move of a linked file", "quarantine/proof", "    if status.st_nlink != 1 or not has", "    if not has", REPLACED, CUT_SHORT),
    mutant("recovery keeps what was written late", "quarantine/proof", "    return has_bytes(dirs.files, record.id.encode(), record.sha256)\n", "    return True\n", LOST, f"{RECOVER}recovery_puts_back_what_was_written_late"),
    mutant("recovery leaves a move half undone", "quarantine/proof", "    if status.st_nlink != 1:\n        return False\n    if (", "    if (", LOST, CUT_SHORT),
    mutant("recovery moves again what was going back", "quarantine/recover", "    is_going_back = record.restored_to is not None", "    is_going_back = False", LOST, CUT_SHORT),
    mutant("recovery forgets a restore", "quarantine/recover", "            path = _put_back(dirs, record, journal) or record.restored_to\n", "            path = record.restored_to\n", LOST, CUT_SHORT),
    mutant("recovery deletes strays", "quarantine/recover", "    return found + [Recovered(name, Outcome.STRAY", "    for name in strays:\n        os.unlink(name, dir_fd=dirs.files)\n    return found + [Recovered(name, Outcome.STRAY", REPLACED, NOT_INTERPRETED),
    mutant("recovery deletes what is no record", "quarantine/records", "        if _TEMPORARY.fullmatch(name):", "        if not _RECORD.fullmatch(name):", REPLACED, NOT_INTERPRETED),
    mutant("a record may be another's", "quarantine/records", "    if record.id != record_id:", "    if False:", LOST, NOT_INTERPRETED),
    mutant("strays open no circuit breaker", "review/recovery", "        if recovered.needs_person and root.tripped is None:", "        if False:", "what only a person can settle stops the moves", f"{RECOVERY}a_stray_file_latches_the_root_and_stays"),
    mutant("a verdict that was cut short is forgotten", "review/recovery", "        store.queue.rejudge(file.id)\n", "        pass\n", MISSED, f"{RECOVERY}a_pending_verdict_without_a_record_is_judged_again"),
    mutant("a moved file is judged again", "review/recovery", " and verdict.id not in records:", ":", LOST, f"{RECOVERY}a_pending_verdict_whose_file_was_moved_is_done"),
    mutant("the catalogue learns nothing from the records", "review/recovery", "        store.verdicts.add(_verdict_of(record, path, quarantined_to))\n", "        pass\n", LOST, f"{RECOVERY}a_quarantined_file_that_the_catalogue_does_not_know_is_taken_in"),
    # Opening and telling files apart
    mutant("links are followed to folders", "fs/files", "_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW |", "_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY |", "nobody is let in", f"{READER}a_link_is_not_followed"),
    mutant("links are followed to files", "fs/files", "_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW |", "_FILE_FLAGS = os.O_RDONLY |", "nobody is let in", f"{READER}what_takes_the_name_after_the_look_neither_blocks_nor_opens"),
    mutant("what was opened is not looked at", "fs/files", "        _require_regular(os.fstat(file_fd))\n", "        pass\n", "nobody is let in", f"{READER}what_takes_the_name_after_the_look_neither_blocks_nor_opens"),
    mutant("paths lead upwards", "fs/files", '        if name == b"..":', "        if False:", "nobody is let in", f"{READER}a_path_cannot_leave_its_root"),
    mutant("only the beginning is hashed", "fs/files", "    while chunk := os.pread(file_fd, CHUNK_BYTES, offset):\n        digest", "    if chunk := os.pread(file_fd, CHUNK_BYTES, offset):\n        digest", JUDGED, f"{READER}a_file_is_read_and_hashed_whole"),
    mutant("a rewrite with the time put back is no change", "fs/identity", "mtime_ns, ctime_ns, status.st_nlink", "mtime_ns, 0, status.st_nlink", MISSED, f"{SCANNER}a_rewrite_with_the_same_size_and_a_restored_time_is_a_change"),
    mutant("a file that changes while it is read is taken", "workers/tasks", "            if not before.same_bytes_as(FileIdentity.of(os.fstat(file_fd))):", "            if False:", JUDGED, f"{TASKS}a_file_that_changes_while_it_is_read_is_changing"),
    mutant("pixels of other bytes are evidence", "workers/tasks", "        if sha256 != expected.sha256:", "        if False:", ACCUSED, f"{TASKS}an_original_that_is_not_what_it_was_is_none"),
    mutant("an original that was compared before is not read again", "workers/tasks", "        if evidence.score >= self.level and (not read or original is copy):", "        if False:", ACCUSED, f"{TASKS}what_is_known_of_its_bytes_tells_a_stranger_and_makes_no_original"),
    mutant("files of another folder are taken for the root's", "workers/tasks", "        if (status.st_dev, status.st_ino) != place.folder:", "        if False:", LOST, f"{TASKS}a_root_that_is_gone_or_replaced_is_away"),
    # Verdicts
    mutant("what was there before is moved", "judging/policy", "    if finding.preexisting:", "    if False:", ACCUSED, SPARED),
    mutant("protected folders are cleared", "judging/policy", "    if rules.protect:", "    if False:", ACCUSED, SPARED),
    mutant("flag moves", "judging/policy", "    if not rules.quarantine:", "    if False:", ACCUSED, SPARED),
    mutant("linked files are moved", "judging/policy", "    if finding.links > 1:", "    if False:", ACCUSED, SPARED),
    mutant("an open circuit breaker stops nothing", "judging/policy", ' if rules.tripped else ""', ' if False else ""', LOST, SPARED),
    mutant("near is enough", "judging/policy", "        finding.only_by_bytes or finding.evidence is None or finding.evidence < evidence_level\n", "        finding.only_by_bytes\n", ACCUSED, f"{POLICY}a_near_one_needs_evidence_of_the_level"),
    mutant("any evidence is enough", "judging/policy", "finding.evidence < evidence_level", "finding.evidence < 0", ACCUSED, f"{POLICY}a_near_one_needs_evidence_of_the_level"),
    mutant("blank pictures are near", "judging/policy", "        finding.only_by_bytes or finding", "        finding", ACCUSED, f"{POLICY}a_picture_that_must_not_be_compared_is_never_a_near_copy"),
    mutant("nobody knows what was there before", "judging/decide", "        preexisting=facts.file.preexisting,", "        preexisting=False,", ACCUSED, f"{PIPELINE}a_copy_is_moved_unless_it_stood_there_or_was_put_back"),
    mutant("what was restored is moved again", "judging/judge", "        if self.store.verdicts.was_restored(os.fsencode(ref.root), facts.file.path, content.sha256):", "        if False:", ACCUSED, f"{PIPELINE}a_copy_is_moved_unless_it_stood_there_or_was_put_back"),
    mutant("moved before the verdict is on record", "judging/apply", "            self._store.commit()  # on record before the file is moved\n", "", LOGGED, f"{PIPELINE}a_verdict_is_on_record_before_the_file_is_moved"),
    mutant("a fault switches nothing off", "judging/apply", "        reason = moved.fault\n", '        reason = ""\n', LOST, f"{PIPELINE}a_fault_of_the_storage_switches_moving_off"),
    mutant("the circuit breaker never opens", "judging/apply", "            reason = root.breaker.record_move(time.monotonic(), lambda: self._store.files.count(root_id))\n", "            pass\n", ACCUSED, f"{PIPELINE}too_many_moves_switch_moving_off"),
    mutant("the slower one is the copy", "judging/judge", "Query(file, ref, content, embedding, overtaken_by)", "Query(file, ref, content, embedding)", "who was there first is the original", f"{PIPELINE}who_comes_first_is_the_original_though_it_is_slow_to_read"),
    mutant("originals are not looked at", "judging/watched_root", "        return there if there is not None and there.same_bytes_as(identity) else None\n", "        return there\n", LIVING, f"{PIPELINE}what_is_no_longer_there_is_nobodys_original"),
    mutant("what waits to be judged again is missed", "judging/candidates", "        self.found.missing.update(queued.id for queued in files.queued)\n", "", MISSED, f"{PIPELINE}a_copy_that_comes_while_its_original_is_to_be_judged_again_is_found"),
    mutant("what replaced a file before its turn is forgotten", "judging/decide", "    if search is None and (facts.file.path, facts.file.identity) != (asked.path, asked.identity):", "    if False:", ACCUSED, f"{PIPELINE}a_file_that_is_replaced_between_its_decoding_and_its_turn_is_judged_as_what_it_is_then"),
    mutant("a hard link was judged", "judging/facts", "            was_judged = other.state not in (FileState.NEW, FileState.LINK) and other.judged_ns is not None\n", "            was_judged = other.state is not FileState.NEW\n", MISSED, f"{PIPELINE}a_file_is_judged_again_though_a_hard_link_of_it_was_known_and_is_gone"),
    mutant("a rewrite during the evidence is forgotten", "judging/decide", "    if facts.file.identity != facts.identity:", "    if False:", MISSED, f"{PIPELINE}a_file_that_is_rewritten_while_it_is_judged_is_judged_as_what_it_is_then"),
    mutant("evidence sought ahead is believed for other originals", "judging/evidence_search", "if begun is not None and begun[0] == task:", "if begun is not None:", MISSED, f"{PIPELINE}evidence_that_was_sought_before_the_original_was_known_is_sought_again"),
    mutant("evidence sought ahead is believed though an original was away", "judging/evidence_search", "                if not found.missing:\n", "                if True:\n", MISSED, f"{PIPELINE}evidence_that_missed_an_original_ahead_of_time_is_sought_again"),
    mutant("what is sought ahead is not dropped for what is asked for now", "judging/evidence_search", "            self._cancel_prefetches()\n", "", "the daemon survives every file", f"{PIPELINE}what_is_sought_ahead_and_not_begun_makes_way"),
    mutant("what lies in a folder that is away is no miss", "judging/candidates", "            if there is None or root is None:", "            if root is None:\n                continue\n            if there is None:", MISSED, f"{PIPELINE}a_copy_of_what_was_away_is_found_once_that_is_back[exact]"),
    mutant("what was away is not looked for", "judging/missing", "                self._rejudge_late(file_id, content, missing.since_ns)\n                self._store.missing.remove(file_id)\n", "", MISSED, f"{PIPELINE}a_copy_of_what_was_taken_away_and_brought_back_as_it_was_is_found"),
    mutant("what was away is forgotten at a restart", "judging/missing", "        self._store.missing.add(file_id, since_ns)\n", "", MISSED, f"{PIPELINE}what_was_away_is_remembered_over_a_restart"),
    mutant("a folder that has just gone is taken for an empty one", "judging/candidates", "    if there is None and not root.is_online():", "    if False:", MISSED, f"{PIPELINE}a_file_whose_folder_goes_away_for_a_moment_waits_for_it"),
    mutant("evidence that there was no time for is not sought again", "judging/evidence_search", "if isinstance(error, OutOfTime) and self._may_try_again(query.file.id):", "if False:", MISSED, f"{PIPELINE}evidence_that_there_was_no_time_for_is_sought_three_times[2-duplicate]"),
    mutant("an answer of a decoder is obeyed", "workers/wire", "if name not in ALLOWED.get(module, ()):", "if False:", "a decoder gains no rights", "tests/workers/test_pool.py::test_an_answer_runs_no_code_of_the_decoders_choice", "tests/workers/test_wire.py::test_anything_else_is_refused"),
    mutant("dismissals of bytes are forgotten", "judging/candidates", "        if is_known and not self._store.dismissals.of(self._query.content.sha256, [content.sha256]):", "        if is_known:", ACCUSED, f"{PIPELINE}a_dismissed_content_is_no_copy_of_a_copy_either"),
    mutant("dismissals are forgotten", "judging/candidates", "if content is None or content.sha256 in dismissed:", "if content is None:", ACCUSED, f"{PIPELINE}what_was_dismissed_is_no_copy_when_it_comes_again"),
    mutant("what comes and goes is not in the vectors", "store/files", "        self._vectors.remove(content_id)\n", "", "nobody is accused of being a copy of what is gone", f"{STORE}the_vectors_follow_the_files"),
    mutant("a roll-back leaves the vectors as they are", "store/store", "        self.vectors.rollback()\n", "", ACCUSED, f"{STORE}a_roll_back_covers_the_vectors"),
    mutant("what a scan missed as it was moved is gone", "store/files", "        self._set(file_id, state=FileState.QUARANTINED, queue=None)\n", "        self._end(file_id, FileState.QUARANTINED)\n", MISSED, f"{STORE}what_a_scan_missed_because_it_went_to_quarantine_is_not_handed_on"),
    mutant("what a scan missed is forgotten by a judgement", "store/statements", "SET_FILE.values(queue=sa.case((files.c.queue == QueueState.GONE, QueueState.GONE), else_=None))", "SET_FILE.values(queue=None)", MISSED, f"{STORE}what_a_scan_missed_is_handed_on_unless_something_was_learned_since"),
    mutant("what lies in quarantine is an original", "store/tables", "ORIGINAL = \"state IN ('kept', ", "ORIGINAL = \"state IN ('quarantined', 'kept', ", LIVING, f"{STORE}originals_never_flagged_come_first_then_the_oldest"),
    mutant("the daemon hears nothing of a restore", "review/restore", "            store.verdicts.set_state(verdict.id, VerdictState.RESTORING)\n", "", ACCUSED, f"{REVIEW_RESTORE}a_daemon_that_runs_beside_hears_of_a_restore_before_the_file_is_back"),
    mutant("flagged folders have a quarantine", "watching/attach", '    if watch.action == "flag" or watch.protect:', "    if watch.protect:", ACCUSED, f"{MONITOR}only_where_the_admin_says_so_may_files_be_moved"),
    # What is missed, and what is believed to be gone
    mutant("a root that vanished was deleted", "watching/scan", '        return ScanResult(0, 0, [], f"{error.strerror}")', "        return ScanResult(0, 0, [one for at in store.files.folders(root.id) for one in store.files.in_folder(root.id, at).values()])", LOST, f"{SCANNER}a_missing_root_is_away_and_nothing_is_gone"),
    mutant("another folder in the root's place is believed", "watching/scan", "        if (status.st_dev, status.st_ino) != root.folder:", "        if False:", LOST, f"{SCANNER}another_folder_in_the_root_s_place_is_away"),
    mutant("a root that goes during the walk is believed", "watching/scan", "        if not still_there:", "        if False:", LOST, f"{SCANNER}a_root_that_goes_during_the_walk_loses_nothing"),
    mutant("a folder that cannot be read was emptied", "watching/scan", " and not _is_beneath(folder, self._unread):", ":", LOST, f"{SCANNER}a_folder_that_cannot_be_opened_is_not_gone"),
    mutant("the quarantine is scanned", "watching/scan", "                if name != PRIVATE_FOLDER and names", "                if names", LIVING, f"{SCANNER}the_private_folder_is_skipped_at_every_depth"),
    mutant("changes are not seen by a scan", "watching/scan", "            if known.pop(name, None) != seen:", "            if known.pop(name, None) is None:", MISSED, f"{SCANNER}new_changed_and_gone"),
    mutant("another disk is taken for the share", "store/root_lookup", "    if not known or known[0].folder[0] == folder[0]:", "    if True:", LOST, f"{ROOTS}another_device_in_its_place_is_away"),
    mutant("what was judged since the scan is forgotten", "store/statements", 'for name in ("id", "root_id", "folder", "name", *_IDENTITY)', 'for name in ("id",)', MISSED, f"{PIPELINE}a_file_that_was_judged_again_since_the_scan_is_not_forgotten"),
    mutant("what went to quarantine since the scan is forgotten", "store/statements", "    .where(\n        sa.text(PRESENT),\n        *(files.c[name] ==", "    .where(\n        *(files.c[name] ==", MISSED, f"{PIPELINE}what_a_scan_missed_as_it_went_to_quarantine_is_not_gone"),
    mutant("settling ignores changes", "watching/settle", "            elif current == wait.seen:", "            elif True:", "a file is judged once it is whole", f"{SETTLE}a_file_that_changed_waits_again"),
    mutant("settling ignores offers", "watching/settle", "        if wait is None or wait.seen != seen:", "        if wait is None:", "a file is judged once it is whole", f"{SETTLE}an_offer_of_a_changed_file_starts_the_wait_again"),
    mutant("nothing settles", "watching/settle", "        if age_ns >= self.settle_s * 1e9:", "        if True:", "a file is judged once it is whole", f"{SETTLE}old_is_as_old_as_the_settling_time"),
    mutant("an overflow of events asks for no scan", "watching/events", "            self._watcher.mark_all_lossy()\n", "            pass\n", MISSED, f"{WATCHER}an_overflow_of_the_kernel_s_queue_marks_every_watched_root"),
    mutant("changes that do not fit are dropped", "watching/changes", "                self._lossy.add(root)\n", "                pass\n", MISSED, f"{WATCHER}beyond_the_capacity_the_root_is_marked"),
    mutant("what judging saw change is not looked at again", "watching/ingest", "[*paths, *self._take_to_settle(store)]", "paths", MISSED, f"{INGEST}what_judging_saw_change_is_looked_at_again_and_queued"),
    mutant("lost events are forgotten", "watching/ingest", "            self._changes.scans.add(lossy)\n", "            pass\n", MISSED, f"{INGEST}lost_events_request_a_scan"),
    mutant("what could not be queued is forgotten", "watching/ingest", "                self._changes.mark_lossy(self._online.paths())\n", "                pass\n", MISSED, f"{INGEST}what_cannot_be_queued_is_found_by_a_scan"),
    mutant("what a scan found gone is not reported", "watching/monitor", "        store.queue.report_gone(result.gone)\n", "", LIVING, f"{MONITOR}what_a_scan_finds_gone_is_left_in_the_queue_for_judging"),
    mutant("a folder that is away is judged", "watching/monitor", "            self._attachments.detach(status.root.id)\n", "            pass\n", LOST, f"{MONITOR}judging_knows_a_root_while_it_is_online"),
    mutant("codes are taken for what they stand for", "search/codes", "(distance + self.error + slack)", "distance", MISSED, f"{INDEX_CONTRACT}a_query_returns_what_brute_force_does"),
    mutant("the nearest of a few are taken for the nearest", "search/exact", "float(near[most - 1])", "float(near[0])", MISSED, f"{INDEX_CONTRACT}the_nearest_are_kept"),
    mutant("a query is moved into another box than the members", "search/codes", ".clip(-reach, reach)", ".clip(-_MAX_CODE * step, _MAX_CODE * step)", MISSED, f"{INDEX}what_its_codes_cannot_hold_is_found_too"),
    mutant("a deleted member keeps its row", "search/blocks", "        block.delete(row)\n", "", "nobody is accused of being a copy of what is gone", f"{INDEX}members_that_move_are_found_where_they_are"),
    mutant("a PNG without its end is whole", "decoding/decode", 'b"IEND" not in data', "False", "a truncated file is no copy", "tests/decoding/test_decode.py::test_a_truncated_file_is_refused"),
    # The log, and the state
    mutant("a line is written by each who comes", "reporting/outbox", "            if store.verdicts.claim(verdict):", "            if store.verdicts.claim(verdict) or True:", LOGGED, f"{DUPLOG}two_at_work_write_each_verdict_once"),
    mutant("a line is written again after a crash", "reporting/outbox", '                if not (after_crash and log.contains(verdict.id, event["event"])):', "                if True:", LOGGED, f"{DUPLOG}after_a_crash_between_writing_and_noting_nothing_is_written_twice"),
    mutant("a line is noted before it is written", "reporting/outbox", "                event = event_of(verdict)\n", "                store.commit()\n                event = event_of(verdict)\n", LOGGED, f"{DUPLOG}what_a_full_disk_keeps_out_is_written_later"),
    mutant("a line is not synced", "reporting/duplicates_log", "            os.fsync(self._fd)\n", "            pass\n", LOGGED, "tests/faults/test_order.py::test_a_line_of_the_log_is_on_disk_before_it_is_noted"),
    mutant("a torn line spoils the next", "reporting/duplicates_log", 'b"\\n" + line if self._is_torn() else line', "line", LOGGED, f"{DUPLOG}a_torn_last_line_is_ended"),
    mutant("two daemons on one state", "service/state", "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)", "one daemon holds the state", "tests/service/test_state.py::test_another_process_is_refused_and_named"),
)  # fmt: skip

SAMPLE = (
    "record not synced",
    "a restore that replaces",
    "original's bytes not proven",
    "recovery finishes a move whose original changed",
    "any evidence is enough",
    "a root that vanished was deleted",
)
"""The names of those that the short run takes."""
