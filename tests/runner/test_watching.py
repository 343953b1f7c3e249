"""What can be seen of a run while it goes on."""

from __future__ import annotations

from world import a_world


async def test_the_text_of_an_answer_can_be_watched(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(1)
        outcome = await world.run(show_text=True)
        assert outcome.progress["espai"].newest == ("p1", "[qwen2.5:7b] 答：p1")
