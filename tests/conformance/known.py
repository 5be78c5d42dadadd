"""What a target is known not to do, by the test: all its cases, or ``test[case]`` for one.

Of Distribution 2.8.2 these are the reasons for a gateway, and they check the tests themselves.
"""

_PAGES = "2.8 gives all tags in the order of a directory"
_REFERRERS = "2.8 does not know of referrers"
_CHUNKS = "2.8 takes chunks in any order, and answers bad ranges wrongly"
_ROUTES = "2.8 answers what no route of it fits in plain text"

DISTRIBUTION = {
    "test_all_tags_come_in_order": _PAGES,
    "test_a_page_has_as_many_tags_as_were_asked_for": _PAGES,
    "test_no_tags_at_all_may_be_asked_for": _PAGES,
    "test_a_page_begins_after_last_whether_it_is_there_or_not": _PAGES,
    "test_links_lead_through_all_pages": _PAGES,
    "test_a_page_size_that_cannot_be_is_refused": _PAGES,
    "test_nothing_refers_to_an_unknown_digest": _REFERRERS,
    "test_referrers_of_a_digest_that_cannot_be_are_refused": _REFERRERS,
    "test_what_refers_to_an_image_is_listed_with_what_it_says": _REFERRERS,
    "test_referrers_may_be_asked_for_by_type": _REFERRERS,
    "test_a_referrer_may_come_before_its_subject": _REFERRERS,
    "test_a_deleted_referrer_is_not_listed": _REFERRERS,
    "test_many_referrers_all_come": _REFERRERS,
    "test_the_answer_names_the_subject": _REFERRERS,
    "test_a_deleted_tag_leaves_its_manifest_and_the_other_tags": "2.8 deletes by digest alone",
    "test_deleting_what_is_not_there_is_not_found[absent]": "2.8 deletes by digest alone",
    "test_tags_may_come_with_a_push_by_digest": "2.8 knows no tag parameter",
    "test_a_manifest_is_what_it_is_whatever_is_asked_for": "2.8 answers by Accept",
    "test_a_part_behind_the_end_of_a_blob_is_refused": "2.8 sends a broken answer",
    "test_a_chunk_out_of_order_is_refused_and_the_right_one_goes_on": _CHUNKS,
    "test_a_first_chunk_that_does_not_begin_at_zero_is_refused": _CHUNKS,
    "test_a_range_that_cannot_be_is_refused": _CHUNKS,
    "test_a_range_of_another_length_than_the_body_is_refused": _CHUNKS,
    "test_an_upload_that_never_was_is_not_found": "2.8 answers 404 only to a state of its own",
    "test_a_name_that_cannot_be_is_an_error": _ROUTES,
    "test_a_tag_that_cannot_be_is_refused": _ROUTES,
    "test_what_is_no_manifest_is_refused[bare]": "2.8 takes it for one of schema 1",
    "test_what_is_no_manifest_is_refused[schema-1]": "2.8 does not look at the version",
    "test_a_manifest_that_is_far_too_large_is_refused": "2.8 names no code for it",
    "test_sha512_by_digest_works_or_says_that_it_is_unsupported": "2.8 does not say it",
}

# Without nginx, whatever is said to an upload or to a blob's bytes is Distribution's.
REDIRECT = {
    "test_a_part_behind_the_end_of_a_blob_is_refused": "2.8 sends a broken answer",
    "test_sha512_works_or_says_that_it_is_unsupported": "2.8 takes what the gateway has not",
    **{name: reason for name, reason in DISTRIBUTION.items() if reason == _CHUNKS},
}

KNOWN = {"distribution": DISTRIBUTION, "redirect": REDIRECT}
